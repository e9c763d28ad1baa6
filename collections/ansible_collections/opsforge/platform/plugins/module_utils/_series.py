# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus or Loki knows over a time: numbers on a grid of moments, numbers of one moment, lines of logs."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import Prometheus

POINTS = 240  # moments of a grid at the most: a picture has not many more columns
SERIES_LIMIT = 100  # series of an answer at the most, where not all are needed
HOURS_MAX = 24 * 31
_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # seconds

_STRANGE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Window:
    """Moments with one distance, in seconds since the epoch: `end` is the last, `start` the first of them.

    :param now: what the window was asked to end at, which may be up to a step later than its last moment.
    """

    start: float
    end: float
    step: int
    now: float

    @classmethod
    def of(cls, hours: float, end: float | None = None) -> Window:
        """The last `hours` until `end` (now if not given), in at most POINTS steps. Raises Invalid."""
        if not 0 < hours <= HOURS_MAX:
            raise Invalid(f"hours must be a number above 0 and not above {HOURS_MAX}, not {hours:g}")
        end = clock.time() if end is None else end
        if not math.isfinite(end) or end < 0:
            raise Invalid(f"end must be a number of seconds since 1970, not {end:g}")
        seconds = hours * 3600
        step = next((step for step in _STEPS if seconds / step <= POINTS), _STEPS[-1])
        last = end - end % step
        return cls(last - max(1, seconds // step) * step, last, step, end)

    @property
    def moments(self) -> list[float]:
        """The grid."""
        return [self.start + at * self.step for at in range(round((self.end - self.start) / self.step) + 1)]


@dataclass(frozen=True)
class Series:
    """One series: its labels, and a number for each moment that was asked for; NaN where there is none."""

    labels: Mapping[str, str]
    values: Sequence[float]

    @property
    def known(self) -> list[float]:
        """The values that are numbers."""
        return [value for value in self.values if not math.isnan(value)]

    @property
    def last(self) -> float | None:
        """The newest number."""
        return next((value for value in reversed(self.values) if not math.isnan(value)), None)


@dataclass(frozen=True)
class Found:
    """The series of an answer.

    :param cut: whether there are more, of which the server sent none; those that it sent are just any of them.
    """

    series: tuple[Series, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a log, with its labels and its moment in seconds since the epoch."""

    time: float
    labels: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Source:
    """A Prometheus, or a Loki below its own path. Methods raise Unreachable, and Invalid for a query that is wrong.

    Series come up to a limit; without one it is the size of an answer that bounds them, and one too large raises.
    """

    server: Prometheus
    root: str = "/api/v1"

    @classmethod
    def loki(cls, server: Prometheus) -> Source:
        """The same of a Loki."""
        return cls(server, "/loki/api/v1")

    def range(self, query: str, window: Window, limit: int | None = SERIES_LIMIT) -> Found:
        """Each series of the query on the window's moments."""
        bounds = {"start": window.start, "end": window.end, "step": window.step}
        found, cut = self._result("query_range", query, "matrix", **bounds, **_up_to(limit))
        size = len(window.moments)
        try:
            grids = (Series(_labels(one["metric"]), _on_grid(one.get("values", ()), window, size)) for one in found)
            return Found(tuple(grids), cut)
        except _STRANGE as error:
            raise self.server.strange() from error

    def at(self, query: str, moment: float, limit: int | None = SERIES_LIMIT) -> Found:
        """Each series of the query with its one number at this moment."""
        found, cut = self._result("query", query, "vector", time=moment, **_up_to(limit))
        try:
            numbers = (Series(_labels(one["metric"]), (float(one["value"][1]),)) for one in found if "value" in one)
            return Found(tuple(numbers), cut)
        except _STRANGE as error:
            raise self.server.strange() from error

    def lines(self, query: str, window: Window, limit: int) -> list[Line]:
        """The newest lines until the moment that the window was asked to end at, newest first."""
        found, _ = self._result(
            "query_range", query, "streams", start=window.start, end=window.now, limit=limit, direction="backward"
        )
        try:
            lines = [
                Line(int(value[0]) / 1e9, _labels(one["stream"]), str(value[1]))
                for one in found
                for value in one["values"]
            ]
        except _STRANGE as error:
            raise self.server.strange() from error
        return sorted(lines, key=lambda line: -line.time)[:limit]

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or fire now, as Prometheus tells them."""
        found = self.server.data(f"{self.root}/alerts")
        try:
            return [one for one in found["alerts"] if isinstance(one, dict)]
        except _STRANGE as error:
            raise self.server.strange() from error

    def _result(self, door: str, query: str, kind: str, **wanted: float | str) -> tuple[list[Any], bool]:
        """What was found, and whether the server left some of it out."""
        words = {
            key: value if isinstance(value, str) else f"{value:.3f}".rstrip("0").rstrip(".")
            for key, value in wanted.items()
        }
        words |= {"query": query, "timeout": f"{self.server.timeout:g}"}
        answer = self.server.answer(f"{self.root}/{door}?{urlencode(words)}", query)
        data = answer["data"]
        if not isinstance(data, dict) or not isinstance(data.get("result"), list):
            raise self.server.strange()
        if data.get("resultType") == "scalar" and kind == "vector":
            return [{"metric": {}, "value": data["result"]}], False
        if data.get("resultType") != kind:
            raise Invalid(f"the query {query} answers with something else than a {kind}")
        return data["result"], _is_cut(answer.get("warnings"))


def _up_to(limit: int | None) -> dict[str, float]:
    return {} if limit is None else {"limit": limit}


def _is_cut(warnings: Any) -> bool:
    """Whether one of the warnings is Prometheus' "results truncated due to limit"."""
    return isinstance(warnings, list) and any("truncated" in str(warning) for warning in warnings)


def _labels(labels: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in labels.items()}


def _on_grid(samples: Sequence[Sequence[Any]], window: Window, size: int) -> tuple[float, ...]:
    """Put the samples where they belong; a moment without one stays a gap."""
    values = [math.nan] * size
    for moment, value in samples:
        at = round((float(moment) - window.start) / window.step)
        if 0 <= at < size:
            values[at] = float(value)
    return tuple(values)
