# SPDX-License-Identifier: GPL-3.0-or-later
"""What the numbers of a panel are, in Prometheus' base units, and how they are written for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

# (smallest value that is written so, what one of it is in base units, its sign), largest first.
_Steps = Sequence[tuple[float, float, str]]

_SI: _Steps = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e3, 1e3, "k"), (1, 1, ""), (0, 1, ""))
_BINARY: _Steps = (
    (2**40, 2**40, "TiB"),
    (2**30, 2**30, "GiB"),
    (2**20, 2**20, "MiB"),
    (2**10, 2**10, "KiB"),
    (0, 1, "B"),
)
_TIME: _Steps = (
    (172800, 86400, "d"),
    (7200, 3600, "h"),
    (120, 60, "min"),
    (1, 1, "s"),
    (1e-3, 1e-3, "ms"),
    (0, 1e-6, "µs"),
)


@dataclass(frozen=True)
class Unit:
    """One unit: its name here, the name that Grafana has for it, and the prefixes that go with it."""

    name: str
    grafana: str
    steps: _Steps = _SI
    suffix: str = ""

    def scale(self, size: float) -> tuple[float, str]:
        """What to divide values of about this size by, and the sign to write behind them."""
        size = abs(size) if math.isfinite(size) else 0.0
        if size == 0:  # nothing has the size of the base unit: "0 s", and not "0 µs"
            size = 1.0 if self.steps is not _BINARY else 0.0
        divisor, sign = next((divisor, sign) for least, divisor, sign in self.steps if size >= least)
        return divisor, (sign + self.suffix).strip()

    def text(self, value: float | None) -> str:
        """The value for people, such as `1.5 GiB`; `no data` for none."""
        if value is None or math.isnan(value):
            return "no data"
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        divisor, sign = self.scale(value)
        number = _number(value / divisor)
        return f"{number}{sign}" if sign in ("", "%") else f"{number} {sign}"


COUNT = Unit("count", "short")
SECONDS = Unit("seconds", "s", _TIME)
BYTES = Unit("bytes", "bytes", _BINARY)
BYTES_PER_SECOND = Unit("bytes_per_second", "binBps", _BINARY, "/s")
RATIO = Unit("ratio", "percentunit", ((0, 0.01, "%"),))
PER_SECOND = Unit("per_second", "cps", _SI, "/s")
REQUESTS_PER_SECOND = Unit("requests_per_second", "reqps", _SI, " req/s")
CORES = Unit("cores", "short", ((0, 1, "cores"),))
MONEY = Unit("money", "short")  # in the currency that the legend names

UNITS = {
    unit.name: unit
    for unit in (COUNT, SECONDS, BYTES, BYTES_PER_SECOND, RATIO, PER_SECOND, REQUESTS_PER_SECOND, CORES, MONEY)
}


def moment(seconds: float) -> str:
    """Seconds since the epoch as UTC, to the second; as they are where no calendar has them."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"


def _number(value: float) -> str:
    """Four digits, and no more zeros than somebody would write."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.1e}"
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"
