# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus metrics of one app: rate, errors and duration by route template, and what is running."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    disable_created_metrics,
)
from prometheus_client import ProcessCollector as _ProcessCollector

from kit.lifecycle import Lifecycle
from kit.settings import Settings

# When a counter began: a series more for each, and nobody here asks.
disable_created_metrics()

T = TypeVar("T")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The registry and its RED metrics. A service adds its own to `registry`."""

    def __init__(self, settings: Settings, lifecycle: Lifecycle | None = None) -> None:
        self.lifecycle = lifecycle = lifecycle or Lifecycle()
        self.registry = CollectorRegistry()
        self._made: dict[str, Any] = {}
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
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

    def once(self, name: str, make: Callable[[CollectorRegistry], T]) -> T:
        """Return the metrics called `name`, made at first use: the registry knows each name once."""
        if name not in self._made:
            self._made[name] = make(self.registry)
        made: T = self._made[name]
        return made

    def expect(self, method: str, route: str) -> None:
        """Show the failures of a route as 0 from the start: the first one must be seen as an increase."""
        for status in ("500", "503"):
            self._requests.labels(method, route, status)

    def observe(self, method: str, route: str, status: int, seconds: float, trace_id: str = "") -> None:
        """Count one answer. Labels come from our own route table, so their number is bounded.

        `trace_id` is given where spans are kept: a reader of the histogram finds an example of each duration by it.
        """
        # Finding a child takes longer than counting with it: found once, kept.
        key = (method, route, status)
        if key not in self._answers:
            method = method if method in METHODS else "OTHER"
            key = (method, route, status)
            if key not in self._answers:
                self._answers[key] = (
                    self._requests.labels(method, route, str(status)),
                    self._duration.labels(method, route),
                )
        count, duration = self._answers[key]
        count.inc()
        duration.observe(seconds, {"trace_id": trace_id} if trace_id else None)
