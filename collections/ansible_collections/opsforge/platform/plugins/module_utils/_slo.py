# SPDX-License-Identifier: GPL-3.0-or-later
"""Service level objectives, and those that the entries of services hold.

`_slo_documents.py` reads others, `_slo_rules.py` turns them all into rules of Prometheus.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._services import KEYS

PAGE, TICKET = "page", "ticket"
# What the services' kit counts with; a promise between two of them could not be measured.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# Asked by who watches a service, not by who uses it.
PROBED_ROUTES = "/health|/info"
# Three failed requests at night are no outage. A number of 10 is known to about a third.
FAILURES_MIN = 10
# Minutes, of which there are never few: only a Prometheus that has just begun must not judge by its first one.
STALE_MINUTES_MIN = 5
FRESHNESS_PERCENT = 99.0

WINDOW = re.compile(r"\{\{\s*\.window\s*\}\}")


@dataclass(frozen=True)
class Alerting:
    """How a document wants to be told of one kind of burning: with which labels and annotations, or not at all."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True


@dataclass(frozen=True)
class Slo:
    """A promise: of all events of 30 days, at least so many percent go well.

    The queries hold `{{.window}}` where a duration belongs. There is either `ratio_query`, the share that failed, or
    both of the others: events that failed and all events, as numbers or, if `per_second`, as rates.
    """

    service: str
    name: str
    objective_percent: float
    # What every series of it carries beside its service and name.
    labels: Mapping[str, str] = field(default_factory=dict)
    error_query: str = ""
    total_query: str = ""
    ratio_query: str = ""
    per_second: bool = False
    # Events that must have failed before anybody is told.
    failures_min: float = FAILURES_MIN
    # By kind; empty for the alerts that all have in common.
    alerting: Mapping[str, Alerting] = field(default_factory=dict)

    @property
    def objective(self) -> Decimal:
        """The share of events that must go well."""
        return Decimal(str(self.objective_percent)) / 100

    def at(self, query: str, window: str) -> str:
        """The query over this window."""
        return WINDOW.sub(window, query).strip()


def of_services(
    services: Mapping[str, Any],
    namespace: str,
    *,
    failures_min: float = FAILURES_MIN,
    freshness_percent: float = FRESHNESS_PERCENT,
) -> list[Slo]:
    """What the entries of an inventory promise. They must have no complaints()."""
    return [
        slo
        for name, entry in services.items()
        for slo in (
            *_of_requests(name, entry, namespace, failures_min),
            *_of_queue(name, entry, namespace, freshness_percent),
        )
    ]


def team(entry: Any) -> str:
    return "worker" if isinstance(entry, Mapping) and entry.get("strategy") == "worker" else "api"


def _of_requests(name: str, entry: Mapping[str, Any], namespace: str, failures_min: float) -> Iterator[Slo]:
    promised = entry.get("slo")
    if not promised:
        return
    common = {"namespace": namespace, "team": team(entry)}
    asked = _selector(namespace=namespace, service=name) + f',route!~"{PROBED_ROUTES}"'
    total = f"sum(increase(http_requests_total{{{asked}}}[{{{{.window}}}}]))"
    yield Slo(
        name,
        "availability",
        promised["availability_percent"],
        {**common, "category": "service_health"},
        error_query=f'sum(increase(http_requests_total{{{asked},status=~"5.."}}[{{{{.window}}}}]))',
        total_query=total,
        failures_min=failures_min,
    )
    answered = f"sum(increase(http_request_duration_seconds_count{{{asked}}}[{{{{.window}}}}]))"
    bucket = f"http_request_duration_seconds_bucket{{{asked},{_bucket(promised['latency_seconds'])}}}"
    yield Slo(
        name,
        "latency",
        promised["latency_percent"],
        {**common, "category": "performance"},
        # Both are extrapolated on their own, so that none that was slow can come out as a little less than none.
        error_query=f"clamp_min({answered} - sum(increase({bucket}[{{{{.window}}}}])), 0)",
        total_query=answered,
        failures_min=failures_min,
    )


def _of_queue(name: str, entry: Mapping[str, Any], namespace: str, percent: float) -> Iterator[Slo]:
    """The share of minutes in which the first of the queue had not been waiting too long.

    Not the share of jobs: a queue that nobody works at has none that came late.
    """
    if not entry.get("queue_age_seconds"):
        return
    shown_by = "|".join(dict.fromkeys((name, entry.get("database_of", name))))
    age = f'max(queue_oldest_age_seconds{{{_selector(namespace=namespace)},service=~"{shown_by}"}})'
    # At queue_age_seconds itself the autoscaler only begins to act; a release is judged by the same number.
    late = max(4 * entry["queue_age_seconds"], 60)
    yield Slo(
        name,
        "freshness",
        percent,
        {"namespace": namespace, "team": team(entry), "category": "performance"},
        error_query=f"sum_over_time(({age} > bool {late:g})[{{{{.window}}}}:1m])",
        total_query=f"count_over_time({age}[{{{{.window}}}}:1m])",
        failures_min=STALE_MINUTES_MIN,
    )


def _selector(**labels: str) -> str:
    return ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())


def _bucket(seconds: float) -> str:
    """The bucket's label: Prometheus 3 writes whole numbers as 1.0, older ones as they come."""
    return f'le=~"{seconds:g}([.]0)?"' if float(seconds).is_integer() else f'le="{seconds:g}"'


def service_mistakes(entry: Any) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield "its entry must be a mapping"
        return
    for key in ("slo", "queue_age_seconds"):
        if entry.get(key) and not KEYS[key][0](entry[key]):
            yield f"{key} must be {KEYS[key][1]} and not {entry[key]!r}"
            return
    promised = entry.get("slo")
    if promised and entry.get("strategy") == "worker":
        yield "a worker answers nobody, so it has no slo of answers; its promise is queue_age_seconds"
    elif promised and promised["latency_seconds"] not in BUCKETS:
        seconds = promised["latency_seconds"]
        below = max((bucket for bucket in BUCKETS if bucket < seconds), default=None)
        above = min((bucket for bucket in BUCKETS if bucket > seconds), default=None)
        near = " and ".join(f"{bucket:g}" for bucket in (below, above) if bucket is not None)
        yield (
            f"latency_seconds {seconds:g} of its slo is between two buckets of http_request_duration_seconds,"
            f" so that nobody can count by it; the next ones are {near}"
            if below and above
            else f"latency_seconds {seconds:g} of its slo is outside the buckets of http_request_duration_seconds,"
            f" so that nobody can count by it; the next one is {near}"
        )
