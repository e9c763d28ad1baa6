# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards as data: complete, unambiguous, and asking only for what is recorded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils import _slo, _slo_rules
from ansible_collections.opsforge.platform.plugins.module_utils._dashboards import chosen, dashboards
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
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
    Row,
    Threshold,
    Variable,
    zero,
)
from ansible_collections.opsforge.platform.plugins.module_utils._units import (
    BYTES,
    COUNT,
    RATIO,
    SECONDS,
    UNITS,
    moment,
)

COLLECTION = Path(__file__).parents[2]
CHECKOUT = COLLECTION.parents[3]
RULES = sorted((COLLECTION / "roles/monitoring/files/rules").glob("*.yml"))
SERVICES: dict[str, Any] = yaml.safe_load((CHECKOUT / "group_vars/shared.yml").read_text(encoding="utf-8"))[
    "platform_services_base"
]
ALL = dashboards(SERVICES, "apps")
_GROUPED = re.compile(r"\b(?:by|on) ?\(([^()]*)\)")
_FIRST = re.compile(r"\(*(?:sum|max|min|avg|count) by \(([^()]*)\)")
_RECORD = re.compile(r"\b[a-z_]+:[a-z0-9_]+:[a-z0-9_]+")


def recorded() -> dict[str, str]:
    """The expressions of all recording rules by name, and the labels that they add: shipped and of objectives."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    groups += _slo_rules.groups(_slo.of_services(SERVICES, "apps"))
    rules = [rule for group in groups for rule in group["rules"] if "record" in rule]
    return {rule["record"]: f"{rule['expr']} by ({', '.join(rule.get('labels', {}))})" for rule in rules}


def kept(expr: str) -> set[str]:
    """The labels that the answer to a query has: of its first aggregation, else of what it reads."""
    made = set(re.findall(r'label_replace\(.*?, ?"(\w+)", ?"', expr))
    if first := _FIRST.match(expr):
        return made | _split(first[1])
    read = [kept(RECORDED[name]) for name in _RECORD.findall(expr) if name in RECORDED]
    return made.union(*read, *map(_split, _GROUPED.findall(expr)))


def _split(labels: str) -> set[str]:
    return {label.strip() for label in labels.split(",")}


RECORDED = recorded()


def test_lines_are_asked_of_the_services_namespace_only() -> None:
    asked = [
        query.expr for dashboard in ALL for panel in dashboard.panels for query in panel.queries if query.source == LOKI
    ]
    assert len(asked) > len(SERVICES)
    for expr in asked:
        assert '{namespace="apps",' in expr, expr


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_its_dashboard(service: str) -> None:
    (mine,) = chosen(ALL, [f"service-{service}"])
    assert mine.service == service and f'service="{service}"' in str(mine.rows)
    titles = {row.title for row in mine.rows}
    assert {"Saturation", "Dependencies", "Pods", "Logs"} <= titles
    assert "Objectives" in titles, "each service of the shop promises something"
    assert ("By slot" in titles) == (SERVICES[service].get("strategy") != "worker")


def test_the_platforms_dashboards_are_there_under_the_addresses_that_alerts_link_to() -> None:
    uids = [dashboard.uid for dashboard in ALL]
    assert len(uids) == len(set(uids))
    platform = {"cluster-health", "application-health", "failure-signals", "slo-overview", "releases", "operations"}
    assert platform | {"capacity"} <= set(uids)
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", uid) for uid in uids), "Grafana takes 40 characters"


def test_alerts_link_to_dashboards_that_exist() -> None:
    uids = {dashboard.uid for dashboard in ALL} | {"service-{{ $labels.service }}"}
    linked = re.findall(r"dashboard_url: dashboards/(.+)", "".join(path.read_text(encoding="utf-8") for path in RULES))
    linked += [
        rule["annotations"]["dashboard_url"].removeprefix("dashboards/")
        for group in _slo_rules.groups(_slo.of_services(SERVICES, "apps"))
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert {link.strip("'\"") for link in linked} - uids == set()


@pytest.mark.parametrize("dashboard", ALL, ids=lambda dashboard: dashboard.uid)
class TestDashboard:
    def test_each_panel_says_what_it_tells(self, dashboard: Dashboard) -> None:
        for panel in dashboard.panels:
            assert panel.title and re.match(r"[A-Z0-9].*\.$", panel.tells), panel
            assert panel.unit is UNITS[panel.unit.name]
            assert 0 < panel.width <= WIDTH

    def test_each_panel_asks_somebody_for_something(self, dashboard: Dashboard) -> None:
        for panel in dashboard.panels:
            assert panel.queries and panel.kind in (SERIES, STAT, TABLE, HEATMAP, LOGS)
            for query in panel.queries:
                assert query.source in (PROMETHEUS, LOKI) and query.expr.strip() == query.expr
                assert query.unit is None or query.unit is UNITS[query.unit.name]
                asked = dashboard.filled(query.expr).replace('"$1"', "")
                assert "$" not in asked, f"a variable that nobody declared: {asked}"

    def test_legends_name_labels_that_the_query_keeps(self, dashboard: Dashboard) -> None:
        for panel in dashboard.panels:
            for query in panel.queries:
                assert {*query.labels, *panel.columns} - kept(query.expr) == set(), query.expr

    def test_reads_only_what_is_recorded(self, dashboard: Dashboard) -> None:
        asked = {name for panel in dashboard.panels for query in panel.queries for name in _RECORD.findall(query.expr)}
        assert asked - set(RECORDED) == set()

    def test_shapes_fit_their_kinds(self, dashboard: Dashboard) -> None:
        for panel in dashboard.panels:
            assert bool(panel.columns) == (panel.kind == TABLE)
            if panel.kind == HEATMAP:
                assert [query.labels for query in panel.queries] == [("le",)]
            if panel.kind == LOGS:
                assert {query.source for query in panel.queries} == {LOKI}
            if len(panel.queries) > 1:
                names = [query.legend for query in panel.queries]
                assert all(names) and len(set(names)) == len(names)


def test_a_panel_is_found_by_its_title() -> None:
    for dashboard in ALL:
        titles = [(row.title, panel.title) for row in dashboard.rows for panel in row.panels]
        assert len(titles) == len(set(titles)), dashboard.uid


def test_an_unknown_dashboard_is_refused_with_those_that_exist() -> None:
    with pytest.raises(Invalid, match="there is no dashboard nothing; there are application-health, "):
        chosen(ALL, ["nothing"])


def test_chosen_dashboards_come_once_and_in_the_order_of_the_choice() -> None:
    assert [one.uid for one in chosen(ALL, ["releases", "capacity", "releases"])] == ["releases", "capacity"]
    assert chosen(ALL, []) == ALL


def test_variables_are_filled_with_everything() -> None:
    dashboard = Dashboard("x", "X", "X.", (), variables=(Variable("service", "service", "up"),))
    assert dashboard.filled('up{service=~"$service",job="${service}"}') == 'up{service=~".+",job=".+"}'
    assert dashboard.filled('label_replace(up, "a", "$1", "b", "(.+)")') == 'label_replace(up, "a", "$1", "b", "(.+)")'


def test_what_never_happened_is_zero_only_while_somebody_looks() -> None:
    assert zero("x", "up", "pod") == '(x) or on () label_replace(0 * count(up), "pod", "none", "", "")'


@pytest.mark.parametrize(
    "legend, labels, name",
    [
        ("{{service}} {{ slot }}", {"service": "auth", "slot": "blue"}, "auth blue"),
        ("{{service}}", {}, "value"),
        ("p99", {"service": "auth"}, "p99"),
        ("", {"b": "2", "a": "1", "__name__": "up"}, "a=1, b=2"),
        ("", {}, "value"),
    ],
)
def test_series_are_named_by_their_legend(legend: str, labels: dict[str, str], name: str) -> None:
    assert Query("up", legend).named(labels) == name


def test_thresholds_hold_on_their_side() -> None:
    assert Threshold(1).holds(1) and not Threshold(1).holds(0.9)
    assert Threshold(1, below=True).holds(0.9) and not Threshold(1, below=True).holds(1)


def test_panels_come_in_reading_order() -> None:
    one, two, three = (Panel(name, ".", ()) for name in "abc")
    dashboard = Dashboard("x", "X", "X.", (Row("1", (one, two)), Row("2", (three,))))
    assert list(dashboard.panels) == [one, two, three]


@pytest.mark.parametrize(
    "unit, value, text",
    [
        (SECONDS, 0, "0 s"),
        (SECONDS, 0.0000123, "12.3 µs"),
        (SECONDS, 0.25, "250 ms"),
        (SECONDS, 90, "90 s"),
        (SECONDS, 600, "10 min"),
        (SECONDS, 90000, "25 h"),
        (SECONDS, 864000, "10 d"),
        (BYTES, 0, "0 B"),
        (BYTES, 1536, "1.5 KiB"),
        (BYTES, 3 * 2**30, "3 GiB"),
        (RATIO, 0.9995, "99.95%"),
        (RATIO, 0, "0%"),
        (COUNT, 12345, "12.35 k"),
        (COUNT, 3, "3"),
        (COUNT, -2, "-2"),
        (COUNT, float("inf"), "∞"),
        (COUNT, float("nan"), "no data"),
        (COUNT, None, "no data"),
        (UNITS["requests_per_second"], 20.5, "20.5 req/s"),
        (UNITS["bytes_per_second"], 2048, "2 KiB/s"),
    ],
)
def test_numbers_are_written_for_people(unit: Any, value: float | None, text: str) -> None:
    assert unit.text(value) == text


def test_moments_are_written_for_people() -> None:
    assert (moment(1767225600), moment(1e30)) == ("2026-01-01 00:00:00", "1e+30")
