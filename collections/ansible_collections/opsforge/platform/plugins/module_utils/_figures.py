# SPDX-License-Identifier: GPL-3.0-or-later
"""One panel of a report: its picture, numbers, table or lines, what it tells, and what was asked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from ansible_collections.opsforge.platform.plugins.module_utils._html import Html, element, join, plain, table
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    CRITICAL,
    HEATMAP,
    LOGS,
    STAT,
    TABLE,
    Panel,
)
from ansible_collections.opsforge.platform.plugins.module_utils._plots import COLORS, Plotter
from ansible_collections.opsforge.platform.plugins.module_utils._report import Finding
from ansible_collections.opsforge.platform.plugins.module_utils._series import SERIES_LIMIT, Line, Series, Window
from ansible_collections.opsforge.platform.plugins.module_utils._units import moment

ROWS = 100  # of a table at the most
# What tells how bad it is to those who do not see the color.
SIGNS = {CRITICAL: "✖", "warning": "▲"}
# Of series whose name, or its end, is the name of a slot or of what failed.
_COLORS = {"blue": 0, "green": 2, "errors": 4, "500": 4, "failed": 4, "dead": 4, "error": 4, "critical": 4}

_CUT = f"Of a query with more than {SERIES_LIMIT} series only {SERIES_LIMIT} came: what is missing may be the largest."

Named = tuple[str, Series]


def figure(finding: Finding, window: Window, moves: Sequence[float], plotter: Plotter, name: str) -> Html:
    """One panel with what was found for it.

    :param moves: moments to mark, seconds since the epoch.
    :param name: what the ids in it begin with; no other panel of the page has it.
    """
    panel = finding.panel
    errors = [element("p", plain(error, 500), class_="error") for error in finding.errors]
    content: Iterable[Html]
    if finding.is_empty:
        content = () if errors else (element("p", "No data in this time.", class_="nothing"),)
    elif panel.kind == STAT:
        content = _numbers(finding)
    elif panel.kind == TABLE:
        content = _table(finding)
    elif panel.kind == LOGS:
        content = (_lines(finding.lines),)
    else:
        content = _picture(finding, window, moves, plotter, name)
    cut = [element("p", _CUT, class_="note")] if finding.cut else []
    queries = "\n".join(query.expr for query in panel.queries)
    return element(
        "figure",
        element("figcaption", element("h4", panel.title), element("p", panel.tells), *_limits(panel)),
        *content,
        *cut,
        *errors,
        element("details", element("summary", "Query"), element("pre", queries)),
    )


def _picture(finding: Finding, window: Window, moves: Sequence[float], plotter: Plotter, name: str) -> Iterable[Html]:
    panel = finding.panel
    found = [(query.named(series.labels), series) for query, many in finding.series for series in many if series.known]
    if panel.kind == HEATMAP:
        series = [(0, one) for _, one in found]
        yield Html(plotter.draw(panel, series, window, moves, name=name, tells=panel.tells))
        return
    # The highest, in the order of the answer: a series keeps its color when it grows.
    highest = sorted(range(len(found)), key=lambda at: -max(found[at][1].known))[:COLORS]
    shown = [found[at] for at in sorted(highest)]
    colors = colored([text for text, _ in shown])
    series = [(color, one) for color, (_, one) in zip(colors, shown, strict=True)]
    yield Html(plotter.draw(panel, series, window, moves, name=name, tells=_told(panel, shown)))
    yield _legend(panel, shown, colors)
    if left_out := len(found) - len(shown):
        which = "more that came" if finding.cut else "more series"
        yield element("p", f"{left_out} {which}, all smaller, are not drawn.", class_="dim")


def colored(names: Sequence[str]) -> list[int]:
    """A color for each series: what is called blue, green or an error has its own, all others what is left."""
    wanted = [_COLORS.get(name.replace("-", " ").rpartition(" ")[2]) for name in names]
    taken = {color for color in wanted if color is not None}
    free = (color for color in range(2 * (COLORS + len(names))) if color not in taken)
    given: set[int] = set()
    colors = []
    for color in wanted:
        colors.append(next(free) if color is None or color in given else color)
        given.add(colors[-1])
    return colors


def _legend(panel: Panel, found: Sequence[Named], colors: Sequence[int]) -> Html:
    rows = []
    for color, (name, series) in zip(colors, found, strict=True):
        dashed = " dashed" if color >= COLORS // 2 else ""
        swatch = element("i", "", class_=f"swatch{dashed}", style=f"--c:var(--s{color})")
        known = [value for value in series.known if math.isfinite(value)]
        mean = sum(known) / len(known) if known else None
        text = panel.unit.text
        rows.append((join(swatch, plain(name)), text(series.last), text(mean), text(max(series.known, default=None))))
    return table(("Series", "last", "mean", "max"), rows, class_="legend")


def _told(panel: Panel, found: Sequence[Named]) -> str:
    """The picture in words."""
    lines = (
        f"{plain(name)}: from {panel.unit.text(min(series.known))} to {panel.unit.text(max(series.known))}, "
        f"last {panel.unit.text(series.last)}."
        for name, series in found
    )
    return " ".join([panel.tells, *lines])


def _limits(panel: Panel) -> Iterable[Html]:
    """From where on it is not well, in words: a line may be out of the picture."""
    said = [
        element(
            "span",
            f"{SIGNS[one.severity]} {one.severity} {side} {panel.unit.text(one.value)}",
            class_=tone(one.severity),
        )
        for one in panel.thresholds
        for side in ("below" if one.below else "from",)
    ]
    return [element("p", *said, class_="limits")] if said else []


def _numbers(finding: Finding) -> Iterable[Html]:
    """Each number of a stat, with its name where there are several."""
    panel = finding.panel
    found = [(query.named(series.labels), series.last) for query, many in finding.series for series in many]
    for name, value in found[:COLORS]:
        past = [threshold for threshold in panel.thresholds if value is not None and threshold.holds(value)]
        severity = CRITICAL if any(one.severity == CRITICAL for one in past) else "warning" if past else ""
        sign = f"{SIGNS[severity]} " if severity else ""
        number = element("span", sign + panel.unit.text(value), class_=f"number {tone(severity)}".strip())
        yield element("p", number, *([element("span", f" {plain(name)}", class_="dim")] if len(found) > 1 else []))


def _table(finding: Finding) -> Iterable[Html]:
    """One line for each set of the panel's labels, one column for each query."""
    panel = finding.panel
    lines: dict[tuple[str, ...], dict[int, float | None]] = {}
    for at, (_, many) in enumerate(finding.series):
        for series in many:
            key = tuple(series.labels.get(column, "") for column in panel.columns)
            lines.setdefault(key, {})[at] = series.last
    rows = [
        (
            *(slot(cell) if column == "slot" else plain(cell) for column, cell in zip(panel.columns, key, strict=True)),
            *((query.unit or panel.unit).text(values.get(at)) for at, (query, _) in enumerate(finding.series)),
        )
        for key, values in sorted(lines.items())
    ]
    head = (*(column.replace("_", " ") for column in panel.columns), *(query.legend for query, _ in finding.series))
    yield table(head, rows[:ROWS], label=panel.title)
    if len(rows) > ROWS:
        yield element("p", f"{len(rows) - ROWS} more rows are not shown.", class_="dim")


def _lines(lines: Sequence[Line]) -> Html:
    rows = []
    for line in lines:
        level, text = _read(line)
        mark = element("span", plain(level, 10), class_=tone("critical" if level in ("error", "critical") else level))
        rows.append((moment(line.time), mark, element("code", plain(text, 400))))
    return table(("UTC", "level", "line"), rows, label="Lines", class_="log")


def _read(line: Line) -> tuple[str, str]:
    """The level and the words of a line: ours are JSON, those of others as they are."""
    try:
        content = json.loads(line.text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        return line.labels.get("level", line.labels.get("detected_level", "")), line.text
    rest = " ".join(
        f"{key}={value}"
        for key, value in content.items()
        if key not in ("time", "level", "event", "service", "span_id")
    )
    return str(content.get("level", line.labels.get("level", ""))), f"{content.get('event', '')} {rest}"


def slot(name: str) -> Html:
    """The name of a slot, in its color."""
    return element("span", plain(name), class_=f"slot {name}") if name in ("blue", "green") else join(plain(name))


def tone(severity: str) -> str:
    """The class of the style sheet for how bad something is."""
    return {CRITICAL: "bad", "warning": "warn"}.get(severity, "")
