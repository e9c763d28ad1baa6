# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards as Grafana reads them, made with its own SDK so that a field that it does not know is an error here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _dashboards, _moves
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    CRITICAL,
    HEATMAP,
    LOGS,
    LOKI,
    PROMETHEUS,
    SERIES,
    STAT,
    TABLE,
    WIDTH,
    Dashboard,
    Panel,
    Query,
    Variable,
)

SDK = "grafana-foundation-sdk==0.0.21"
_TAG = "opsforge"
_HEIGHTS = {STAT: 4, TABLE: 8, LOGS: 12}  # rows of Grafana's grid; a graph takes the usual 8
_WELL, _WARNING, _CRITICAL = "green", "orange", "red"


def grafana_dashboards(services: Mapping[str, Mapping[str, Any]], namespace: str) -> dict[str, str]:
    """The JSON of each dashboard by its uid. Raises NotFound where the SDK is not installed."""
    sdk = _Sdk.found()
    return {
        dashboard.uid: json.dumps(_dashboard(sdk, dashboard, namespace), cls=sdk.encoder.JSONEncoder, sort_keys=True)
        for dashboard in _dashboards.dashboards(services, namespace)
    }


@dataclass(frozen=True)
class _Sdk:
    """The parts of the SDK that are used. It is imported here, since only those who have a Grafana need it."""

    dashboard: Any
    models: Any
    common: Any
    common_models: Any
    encoder: Any
    # By kind of panel, and by kind of datasource.
    panels: Mapping[str, Callable[[], Any]]
    queries: Mapping[str, Callable[[], Any]]
    formats: Any
    # Of a heatmap.
    axis: Callable[[], Any]

    @classmethod
    def found(cls) -> _Sdk:
        try:
            builders, models = "grafana_foundation_sdk.builders", "grafana_foundation_sdk.models"
            panels = {kind: import_module(f"{builders}.{kind}").Panel for kind in (SERIES, STAT, TABLE, HEATMAP, LOGS)}
            queries = {kind: import_module(f"{builders}.{kind}").Dataquery for kind in (PROMETHEUS, LOKI)}
            return cls(
                dashboard=import_module(f"{builders}.dashboard"),
                models=import_module(f"{models}.dashboard"),
                common=import_module(f"{builders}.common"),
                common_models=import_module(f"{models}.common"),
                encoder=import_module("grafana_foundation_sdk.cog.encoder"),
                panels=panels,
                queries=queries,
                formats=import_module(f"{models}.prometheus").PromQueryFormat,
                axis=import_module(f"{builders}.heatmap").YAxisConfig,
            )
        except ImportError as error:
            raise NotFound(f"dashboards for Grafana need a Python package: pip install {SDK}") from error

    def source(self, kind: str) -> Any:
        """The datasource that the viewer has chosen."""
        return self.common_models.DataSourceRef(type_val=kind, uid=f"${{{kind}}}")


def _dashboard(sdk: _Sdk, dashboard: Dashboard, namespace: str) -> Any:
    made = (
        sdk.dashboard.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .description(dashboard.tells)
        .tags([_TAG, *dashboard.tags])
        .timezone("utc")
        .time("now-6h", "now")
        .refresh("1m")
        .readonly()
        .tooltip(sdk.models.DashboardCursorSync.CROSSHAIR)
    )
    sources = {query.source for panel in dashboard.panels for query in panel.queries}
    for kind in sorted(sources | {PROMETHEUS}):
        made.with_variable(sdk.dashboard.DatasourceVariable(kind).label(kind.capitalize()).type(kind))
    for variable in dashboard.variables:
        made.with_variable(_variable(sdk, variable))
    if dashboard.markers:
        made.annotation(_markers(sdk, dashboard, namespace))
    made.link(
        sdk.dashboard.DashboardLink("Dashboards")
        .type(sdk.models.DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .as_dropdown(True)
        .keep_time(True)
    )
    if dashboard.service:
        address = f"/d/releases?var-service={dashboard.service}"
        link = sdk.dashboard.DashboardLink("Releases").type(sdk.models.DashboardLinkType.LINK).url(address)
        made.link(link.keep_time(True))
    numbers = count(1)
    for title, place, panel in _layout(dashboard):
        position = sdk.models.GridPos(x=place[0], y=place[1], w=place[2], h=place[3])
        if panel is None:
            made.with_row(sdk.dashboard.Row(title).id(next(numbers)).grid_pos(position))
        else:
            made.with_panel(_panel(sdk, panel).id(next(numbers)).grid_pos(position))
    return made.build()


def _layout(dashboard: Dashboard) -> Iterator[tuple[str, tuple[int, int, int, int], Panel | None]]:
    """(title, (x, y, width, height), panel) of each row, which has no panel, and each panel, in reading order."""
    y = 0
    for row in dashboard.rows:
        yield row.title, (0, y, WIDTH, 1), None
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            high = _HEIGHTS.get(panel.kind, 8)
            # Numbers stand in a line of their own, and nothing stands over the edge.
            if x + panel.width > WIDTH or (height and height != high):
                x, y, height = 0, y + height, 0
            yield panel.title, (x, y, panel.width, high), panel
            x, height = x + panel.width, max(height, high)
        y += height


def _variable(sdk: _Sdk, variable: Variable) -> Any:
    return (
        sdk.dashboard.QueryVariable(variable.name)
        .label(variable.name.capitalize())
        .datasource(sdk.source(PROMETHEUS))
        .query(f"label_values({variable.metric}, {variable.label})")
        .refresh(sdk.models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(variable.everything)
        .multi(True)
        .current(sdk.models.VariableOption(text="All", value="$__all"))
    )


def _markers(sdk: _Sdk, dashboard: Dashboard, namespace: str) -> Any:
    """The first minute in which a service has its traffic on a slot and a version."""
    chosen = dashboard.service or ("$service" if any(one.name == "service" for one in dashboard.variables) else ".+")
    now, before = _moves.query(namespace, chosen), _moves.query(namespace, chosen, offset="1m")
    return (
        sdk.dashboard.AnnotationQuery()
        .name("Moves of traffic")
        .datasource(sdk.source(PROMETHEUS))
        .enable(True)
        .icon_color("purple")
        .expr(f"{now} unless {before}")
        .step("60s")
        .title_format("{{service}} moved to {{slot}}")
        .text_format("version {{version}}")
        .tag_keys("service,slot")
    )


def _panel(sdk: _Sdk, panel: Panel) -> Any:
    made = sdk.panels[panel.kind]().title(panel.title).description(panel.tells)
    for name, query in zip("ABCDEFGH", panel.queries, strict=False):
        made.with_target(_query(sdk, panel, query, name))
    made.datasource(sdk.source(panel.queries[0].source))
    if panel.kind == LOGS:
        return made.show_time(True).wrap_log_message(True).enable_log_details(True)
    if panel.kind == HEATMAP:
        return made.y_axis(sdk.axis().unit(panel.unit.grafana))
    made.unit(panel.unit.grafana).thresholds(_thresholds(sdk, panel)).no_value("no data")
    if panel.kind == TABLE:
        return _columns(sdk, made, panel)
    if panel.kind == STAT:
        return made.reduce_options(sdk.common.ReduceDataOptions().calcs(["lastNotNull"]))
    # Soft, as the report draws it: what is past an end, such as a budget that is overspent, moves the end.
    if panel.top is not None:
        made.axis_soft_max(panel.top)
    common, styles = sdk.common, sdk.common_models
    made.axis_soft_min(0).line_width(1.5).fill_opacity(30 if panel.stacked else 6)
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(styles.StackingMode.NORMAL))
    if panel.thresholds:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(styles.GraphThresholdsStyleMode.DASHED))
    legend = common.VizLegendOptions().display_mode(styles.LegendDisplayMode.TABLE).show_legend(True)
    made.legend(legend.placement(styles.LegendPlacement.BOTTOM).calcs(["lastNotNull", "mean", "max"]))
    return made.tooltip(common.VizTooltipOptions().mode(styles.TooltipDisplayMode.MULTI))


def _query(sdk: _Sdk, panel: Panel, query: Query, name: str) -> Any:
    made = sdk.queries[query.source]().expr(query.expr).ref_id(name).datasource(sdk.source(query.source))
    if query.source == LOKI:
        return made.query_type("range").legend_format(query.legend) if query.legend else made.query_type("range")
    made.legend_format(query.legend or "__auto")
    if panel.kind in (STAT, TABLE):
        made.instant()
    else:
        made.range().exemplar(panel.exemplars)
    formats = {TABLE: sdk.formats.TABLE, HEATMAP: sdk.formats.HEATMAP}
    return made.format(formats.get(panel.kind, sdk.formats.TIME_SERIES))


def _thresholds(sdk: _Sdk, panel: Panel) -> Any:
    """From where on which color holds: Grafana knows only lower bounds."""

    def color(value: float) -> str:
        past = {threshold.severity for threshold in panel.thresholds if threshold.holds(value)}
        return _CRITICAL if CRITICAL in past else _WARNING if past else _WELL

    bounds = sorted({threshold.value for threshold in panel.thresholds})
    steps = [sdk.models.Threshold(value=None, color=color(bounds[0] - 1 if bounds else 0))]
    steps += [sdk.models.Threshold(value=bound, color=color(bound)) for bound in bounds]
    return sdk.dashboard.ThresholdsConfig().mode(sdk.models.ThresholdsMode.ABSOLUTE).steps(steps)


def _columns(sdk: _Sdk, made: Any, panel: Panel) -> Any:
    """One row for each set of labels, one column for each query."""
    # One query's column is called otherwise than those of several.
    names = ["Value"] if len(panel.queries) == 1 else [f"Value #{name}" for name in "ABCDEFGH"[: len(panel.queries)]]
    titles = dict(zip(names, (query.legend for query in panel.queries), strict=True))
    order = {name: at for at, name in enumerate((*panel.columns, *names))}
    made.with_transformation(sdk.models.DataTransformerConfig(id_val="merge", options={}))
    options: dict[str, Any] = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": titles}
    made.with_transformation(sdk.models.DataTransformerConfig(id_val="organize", options=options))
    for query in panel.queries:
        if query.unit:
            unit = sdk.models.DynamicConfigValue(id_val="unit", value=query.unit.grafana)
            made.override_by_name(query.legend, [unit])
    return made


def config_maps(dashboards: Mapping[str, str], size: int = 300_000) -> Sequence[dict[str, str]]:
    """The dashboards as the data of as few ConfigMaps as take them, each of at most `size` bytes and one dashboard."""
    maps: list[dict[str, str]] = []
    room = 0
    for uid, text in sorted(dashboards.items()):
        if len(text.encode()) > room:
            maps.append({})
            room = size
        maps[-1][f"{uid}.json"] = text
        room -= len(text.encode())
    return maps
