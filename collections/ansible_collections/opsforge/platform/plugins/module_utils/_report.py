# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for all that a report shows: every panel of its dashboards, the alerts that fire, and when traffic moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import TypeVar

from ansible_collections.opsforge.platform.plugins.module_utils import _alerts, _moves
from ansible_collections.opsforge.platform.plugins.module_utils._alerts import Alert
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, PlatformError, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._moves import Move
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    HEATMAP,
    LOGS,
    LOKI,
    PROMETHEUS,
    SERIES,
    Dashboard,
    Panel,
    Query,
)
from ansible_collections.opsforge.platform.plugins.module_utils._parallel import each
from ansible_collections.opsforge.platform.plugins.module_utils._series import Line, Series, Source, Window

LINES = 40  # lines of a panel of logs at the most
_TRIES = 3  # answers in a row that may not come before nothing more is asked

Result = TypeVar("Result")


@dataclass(frozen=True)
class Finding:
    """A panel with what was found for it: the series of each query, in their order, or lines, or why there are none.

    :param cut: whether a query has more series than came.
    """

    panel: Panel
    series: tuple[tuple[Query, tuple[Series, ...]], ...] = ()
    lines: tuple[Line, ...] = ()
    errors: tuple[str, ...] = ()
    cut: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a number nor a line."""
        return not self.lines and not any(series.known for _, found in self.series for series in found)


@dataclass(frozen=True)
class Report:
    """What a page shows.

    :param findings: by the dashboard's uid, in the order of its panels.
    :param summary: what stands on top of the page.
    :param alerts: None if nobody could say what fires; so for `moves`.
    :param notes: what the reader must know about what is missing.
    """

    window: Window
    dashboards: tuple[Dashboard, ...]
    findings: Mapping[str, tuple[Finding, ...]]
    summary: tuple[Finding, ...] = ()
    alerts: tuple[Alert, ...] | None = ()
    moves: tuple[Move, ...] | None = ()
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def empty(self) -> list[str]:
        """`dashboard: panel` of each one that is neither drawn nor in error; `summary` is the top of the page."""
        return [name for name, finding in self._named() if finding.is_empty and not finding.errors]

    @property
    def failed(self) -> list[str]:
        """`dashboard: panel: why` of each one that could not be asked for."""
        return [f"{name}: {finding.errors[0]}" for name, finding in self._named() if finding.errors]

    def _named(self) -> Iterable[tuple[str, Finding]]:
        parts = {"summary": self.summary, **self.findings}
        return ((f"{part}: {finding.panel.title}", finding) for part, found in parts.items() for finding in found)


@dataclass
class Asker:
    """A source that is left alone once it does not answer: a report of 300 panels must not wait 300 times."""

    source: Source
    _failed: int = 0
    _lock: Lock = field(default_factory=Lock)

    def ask(self, question: Callable[[], Result]) -> Result:
        """Put a question to the source. Raises Invalid and Unreachable."""
        if self._failed >= _TRIES:
            raise Unreachable(
                f"{self.source.server.title} was not asked, since it did not answer {_TRIES} times before"
            )
        try:
            result = question()
        except Unreachable:
            with self._lock:
                self._failed += 1
            raise
        except Invalid:
            self._failed = 0
            raise
        self._failed = 0
        return result


@dataclass(frozen=True)
class Reporter:
    """Looks at one window of time."""

    prometheus: Source
    window: Window
    namespace: str
    loki: Source | None = None

    def look(self, dashboards: Sequence[Dashboard], summary: Sequence[Panel] = ()) -> Report:
        """Ask for everything. Raises Unreachable where there is no Prometheus at all; a panel's own error is in it."""
        self.prometheus.at("vector(1)", self.window.now)
        notes = []
        askers = {PROMETHEUS: Asker(self.prometheus)}
        if self.loki:
            try:
                self.loki.at("vector(1)", self.window.now)
                askers[LOKI] = Asker(self.loki)
            except PlatformError as error:
                notes.append(f"Panels of logs are left out: {error}.")
        dashboards = [_askable(dashboard, askers) for dashboard in dashboards]
        work = [*(panel for dashboard in dashboards for panel in dashboard.panels), *summary]
        found = iter(each(partial(self._find, askers), work))
        findings = {dashboard.uid: tuple(next(found) for _ in dashboard.panels) for dashboard in dashboards}
        fire = partial(_alerts.firing, self.prometheus, self.window.now)
        alerts = _known(notes, "The alerts that fire are not known", fire)
        where = _moves.query(self.namespace)
        moved = _known(
            notes,
            "The moves of traffic are not known",
            # Of all series: one that is left out looks like a service that did not move.
            lambda: _moves.moves(self.prometheus.range(where, self.window, limit=None).series, self.window),
        )
        return Report(
            window=self.window,
            dashboards=tuple(dashboards),
            findings=findings,
            summary=tuple(found),
            alerts=alerts,
            moves=moved,
            notes=tuple(notes),
            sources=tuple(asker.source.server.where for asker in askers.values()),
        )

    def _find(self, askers: Mapping[str, Asker], panel: Panel) -> Finding:
        series: list[tuple[Query, tuple[Series, ...]]] = []
        lines: list[Line] = []
        errors: list[str] = []
        cut = False
        for query in panel.queries:
            asker = askers[query.source]
            source = asker.source
            try:
                if panel.kind == LOGS:
                    lines += asker.ask(partial(source.lines, query.expr, self.window, LINES))
                    continue
                over_time = panel.kind in (SERIES, HEATMAP)
                found = asker.ask(
                    partial(source.range, query.expr, self.window)
                    if over_time
                    else partial(source.at, query.expr, self.window.now)
                )
                series.append((query, _numbers(found.series)))
                cut = cut or found.cut
            except PlatformError as error:
                errors.append(str(error))
        return Finding(panel, tuple(series), tuple(lines[:LINES]), tuple(errors), cut)


def _known(notes: list[str], what: str, ask: Callable[[], Iterable[Result]]) -> tuple[Result, ...] | None:
    """The answer, or None and a note that it is missing."""
    try:
        return tuple(ask())
    except PlatformError as error:
        notes.append(f"{what}: {error}.")
        return None


def _askable(dashboard: Dashboard, sources: Container[str]) -> Dashboard:
    """The dashboard of all that a viewer could choose, without the panels that ask somebody else than these sources."""

    def filled(panel: Panel) -> Panel:
        queries = tuple(replace(query, expr=dashboard.filled(query.expr)) for query in panel.queries)
        return replace(panel, queries=queries)

    rows = (
        replace(
            row,
            panels=tuple(filled(one) for one in row.panels if all(query.source in sources for query in one.queries)),
        )
        for row in dashboard.rows
    )
    return replace(dashboard, rows=tuple(row for row in rows if row.panels))


def _numbers(found: Iterable[Series]) -> tuple[Series, ...]:
    """Those that have a number at all, in the order of their labels: the same answer gives the same colors."""
    kept = [one for one in found if not all(map(math.isnan, one.values))]
    return tuple(sorted(kept, key=lambda one: sorted(one.labels.items())))
