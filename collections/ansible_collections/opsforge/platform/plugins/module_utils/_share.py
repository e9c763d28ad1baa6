# SPDX-License-Identifier: GPL-3.0-or-later
"""The share of the requests that a slot really answers, by what Prometheus counted, and whether that tells anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError

# The share of the requests seen is within the tolerance of the true one 19 times out of 20, from so many on.
_SIGMAS = 1.96


class Asked(Protocol):
    """The part of Prometheus that counting needs."""

    def ask(self, query: str, time: float | None = None) -> float | None: ...


@dataclass(frozen=True)
class Share:
    """What was measured. Percentages and the tolerance are of all requests, from 0 to 100."""

    wanted: float
    tolerance: float
    served: float | None = None
    samples: int | None = None
    error: str = ""

    @property
    def needed(self) -> int:
        """How many requests tell the wanted share from one that is off by more than the tolerance."""
        part = self.wanted / 100
        # At the very ends nothing varies: what has to be told is a share that is off by the tolerance.
        part = min(max(part, self.tolerance / 100), 1 - self.tolerance / 100)
        return math.ceil(part * (1 - part) * (_SIGMAS / (self.tolerance / 100)) ** 2)

    @property
    def warning(self) -> str:
        """What is wrong with the share or with the measurement, empty if nothing is."""
        if self.error:
            return f"the share really served is not known: {self.error}"
        if self.samples is None:
            return ""
        if self.samples < self.needed:
            return (
                f"{self.samples} requests were seen, too few to tell a share of {self.wanted:g}%"
                f" within {self.tolerance:g} points: that takes about {self.needed}"
            )
        if self.served is not None and abs(self.served - self.wanted) > self.tolerance:
            return (
                f"the canary serves {self.served:g}% of {self.samples} requests, not {self.wanted:g}%"
                f" (tolerance {self.tolerance:g} points)"
            )
        return ""

    def result(self) -> dict[str, Any]:
        """What a module returns of it."""
        served = None if self.served is None else round(self.served, 2)
        needed = None if self.samples is None else self.needed
        return {"served_percent": served, "samples": self.samples, "samples_needed": needed}


def tolerance(wanted: float, points: float) -> float:
    """The stated tolerance, but never so wide that a canary that gets nothing, or everything, would do."""
    distances = [distance / 2 for distance in (wanted, 100 - wanted) if distance > 0]
    return min([points, *distances])


def measure(prometheus: Asked, namespace: str, service: str, slot: str, seconds: int, share: Share) -> Share:
    """Count the requests of the last seconds. Prometheus being away is told, and is no error: the weight stands."""
    series = f'http_requests_total{{namespace="{namespace}",service="{service}"%s}}[{seconds}s]'
    try:
        total = prometheus.ask(f"sum(increase({series % ''}))") or 0.0
        by_slot = ',slot="' + slot + '"'
        mine = prometheus.ask(f"sum(increase({series % by_slot}))") or 0.0
    except PlatformError as error:
        return Share(share.wanted, share.tolerance, error=str(error))
    # Of no requests there is no share; what grows between the two looks must not make it more than all of them.
    served = 100 * min(mine / total, 1.0) if total > 0 else None
    return Share(share.wanted, share.tolerance, served=served, samples=round(total))
