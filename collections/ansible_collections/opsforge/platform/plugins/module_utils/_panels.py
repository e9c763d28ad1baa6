# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards as data: what is asked, of whom, and what the answer means. Grafana and the report draw the same ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._units import COUNT, Unit

PROMETHEUS, LOKI = "prometheus", "loki"
# Kinds of panels. SERIES and HEATMAP are drawn over time, the others show the last moment.
SERIES, STAT, TABLE, HEATMAP, LOGS = "timeseries", "stat", "table", "heatmap", "logs"
WARNING, CRITICAL = "warning", "critical"
WIDTH = 24  # columns of a row, as Grafana counts them

_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True)
class Query:
    """One question in PromQL or LogQL.

    :param legend: names each series; `{{label}}` stands for the label's value. In a table it is the column's title.
    :param unit: of this column of a table, if it is not the panel's.
    """

    expr: str
    legend: str = ""
    source: str = PROMETHEUS
    unit: Unit | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the legend names."""
        return tuple(_LABEL.findall(self.legend))

    def named(self, labels: Mapping[str, str]) -> str:
        """The legend of a series with these labels; the labels themselves where it has no legend."""
        if not self.legend:
            return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()) if key != "__name__") or "value"
        return _LABEL.sub(lambda found: labels.get(found[1], ""), self.legend).strip() or "value"


@dataclass(frozen=True)
class Threshold:
    """A value from which on, or with `below` under which, something is not well."""

    value: float
    severity: str = WARNING
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value is past it."""
        return value < self.value if self.below else value >= self.value


# Of a share: from where on too much of it fails, or is taken.
FAILING = (Threshold(0.01), Threshold(0.05, CRITICAL))
FULL = (Threshold(0.8), Threshold(0.95, CRITICAL))


@dataclass(frozen=True)
class Panel:
    """One picture, or one number, and in one sentence what it tells.

    :param columns: labels that are the first columns of a table; its queries are joined on them.
    :param top: the end of the axis, where it is known, such as 1 for a share.
    :param stacked: whether the series are parts of one whole.
    """

    title: str
    tells: str
    queries: tuple[Query, ...]
    unit: Unit = COUNT
    kind: str = SERIES
    thresholds: tuple[Threshold, ...] = ()
    width: int = 8
    columns: tuple[str, ...] = ()
    top: float | None = None
    stacked: bool = False
    # Whether its points may carry exemplars: the traces behind a latency.
    exemplars: bool = False


@dataclass(frozen=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """What a viewer may choose; the report shows all of it.

    :param label: the label whose values can be chosen.
    :param metric: the series that have it.
    """

    name: str
    label: str
    metric: str
    everything: str = ".+"


@dataclass(frozen=True)
class Dashboard:
    """Rows of panels under one address.

    :param uid: its address: never changes, since alerts link to it.
    :param markers: whether the moments are marked at which traffic moved to another slot.
    :param service: of the one service that it is about; empty for all.
    """

    uid: str
    title: str
    tells: str
    rows: tuple[Row, ...]
    tags: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    markers: bool = False
    service: str = ""

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels, in reading order."""
        return (panel for row in self.rows for panel in row.panels)

    def filled(self, expr: str) -> str:
        """The expression with its variables replaced by everything that a viewer could choose."""
        values = {variable.name: variable.everything for variable in self.variables}
        return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), expr)


@dataclass(frozen=True)
class Scene:
    """What dashboards are made for: the services of an environment by name, and where they run."""

    services: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    namespace: str = "apps"


def zero(expr: str, seen: str, *labels: str) -> str:
    """The expression; where it has nothing, 0 with these labels as `none`, while `seen` has something.

    What never happened has no series yet, and what nobody looks at has none either: `seen` tells them apart.
    """
    nothing = f"0 * count({seen})"
    for label in labels:
        nothing = f'label_replace({nothing}, "{label}", "none", "", "")'
    return f"({expr}) or on () {nothing}"


def graph(title: str, tells: str, expr: str, legend: str = "all", unit: Unit = COUNT, **more: Any) -> Panel:
    """One query over time."""
    return Panel(title, tells, (Query(expr, legend),), unit, **more)


def number(title: str, tells: str, expr: str, unit: Unit = COUNT, *thresholds: Threshold, legend: str = "") -> Panel:
    """One query now."""
    return Panel(title, tells, (Query(expr, legend),), unit, STAT, thresholds, width=6)
