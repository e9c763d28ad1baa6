# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus metrics of one app: rate, errors and duration by route template, and what is running."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector
from prometheus_client import ProcessCollector as _ProcessCollector

from kit.lifecycle import Lifecycle
from kit.settings import Settings

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The registry and its RED metrics. A service adds its own to `registry`."""

    def __init__(self, settings: Settings, lifecycle: Lifecycle) -> None:
        self.registry = CollectorRegistry()
        for collector in (_ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = Counter(
            "http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._duration = Histogram(
            "http_request_duration_seconds", "Time to answer.", ["method", "route"], registry=self.registry
        )
        in_flight = Gauge("http_requests_in_flight", "Requests being answered.", registry=self.registry)
        in_flight.set_function(lambda: lifecycle.in_flight)
        drained = Gauge("http_drained", "1 while connections are being let go.", registry=self.registry)
        drained.set_function(lambda: lifecycle.closing)
        build = Gauge("build_info", "What is running.", ["service", "version", "slot"], registry=self.registry)
        build.labels(settings.service, settings.version, settings.slot).set(1)
        self.dependency_up = Gauge(
            "dependency_up", "1 when the last check passed.", ["dependency"], registry=self.registry
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. Labels come from our own route table, so their number is bounded."""
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(method, route, str(status)).inc()
        self._duration.labels(method, route).observe(seconds)
