# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker counts."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class WorkerMetrics:
    """Runs by kind and outcome: done, retried, dead, handed_back, or too_late (another run was quicker)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        jobs = Counter("jobs", "Runs that came to an end.", ["kind", "outcome"], registry=registry)
        duration = Histogram("job_duration_seconds", "Time to run.", ["kind"], buckets=_SECONDS, registry=registry)
        wait = Histogram("job_wait_seconds", "Time from ready to begun.", ["kind"], buckets=_SECONDS, registry=registry)
        # Looking up the child of a metric costs as much as using it.
        self._jobs = cache(jobs.labels)
        self._duration = cache(duration.labels)
        self._wait = cache(wait.labels)

    def ended(self, kind: str, outcome: str, *, seconds: float | None = None, waited: float = 0.0) -> None:
        """Count the end of a run; without `seconds`, of one that has no length worth knowing."""
        self._jobs(kind, outcome).inc()
        if seconds is not None:
            self._duration(kind).observe(seconds)
            self._wait(kind).observe(waited)
