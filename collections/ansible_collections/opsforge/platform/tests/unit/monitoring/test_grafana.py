# SPDX-License-Identifier: GPL-3.0-or-later
"""Grafana's own reading of the dashboards, and what the role asks of a cluster to show them."""

from __future__ import annotations

import base64
import json
import re
import sys
from importlib import import_module
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils import _dashboards, _grafana
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    CRITICAL,
    LOGS,
    LOKI,
    Dashboard,
    Panel,
    Query,
    Row,
    Threshold,
    graph,
)
from ansible_collections.opsforge.platform.tests.unit.roles import CHECKOUT, Objects

from .rendering import evaluate, render

SERVICES: dict[str, Any] = yaml.safe_load((CHECKOUT / "group_vars/shared.yml").read_text(encoding="utf-8"))[
    "platform_services_base"
]
PLAIN = {dashboard.uid: dashboard for dashboard in _dashboards.dashboards(SERVICES, "apps")}


@pytest.fixture(scope="module")
def made() -> dict[str, dict[str, Any]]:
    """All dashboards as Grafana would read them."""
    return {uid: json.loads(text) for uid, text in _grafana.grafana_dashboards(SERVICES, "apps").items()}


@pytest.fixture(scope="module")
def objects() -> Objects:
    return render(monitoring_grafana_enabled=True)


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_grafana_shows_what_the_report_shows(made: dict[str, dict[str, Any]]) -> None:
    assert list(made) == list(PLAIN)
    for uid, dashboard in made.items():
        wanted = [(panel.title, panel.kind, [query.expr for query in panel.queries]) for panel in PLAIN[uid].panels]
        shown = [
            (panel["title"], panel["type"], [target["expr"] for target in panel["targets"]])
            for panel in panels(dashboard)
        ]
        assert shown == wanted
        assert dashboard["uid"] == uid and not dashboard["editable"] and dashboard["timezone"] == "utc"


def test_the_sdk_reads_back_what_it_wrote(made: dict[str, dict[str, Any]]) -> None:
    model = import_module("grafana_foundation_sdk.models.dashboard").Dashboard
    encoder = import_module("grafana_foundation_sdk.cog.encoder").JSONEncoder
    for dashboard in made.values():
        again = json.loads(json.dumps(model.from_json(dashboard), cls=encoder))
        assert [panel["title"] for panel in panels(again)] == [panel["title"] for panel in panels(dashboard)]


def test_no_panel_lies_over_another_or_over_the_edge(made: dict[str, dict[str, Any]]) -> None:
    for dashboard in made.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert cells and not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
            taken |= cells
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(ids) == len(set(ids))


def test_the_viewer_chooses_where_it_comes_from(made: dict[str, dict[str, Any]]) -> None:
    for dashboard in made.values():
        names = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        assert names["prometheus"]["type"] == "datasource"
        for panel in panels(dashboard):
            for target in panel["targets"]:
                source = target["datasource"]
                assert source["uid"] == f"${{{source['type']}}}" and source["type"] in names
    releases = {variable["name"]: variable for variable in made["releases"]["templating"]["list"]}
    assert {"service", "slot"} <= set(releases)
    assert releases["service"]["includeAll"] and releases["service"]["allValue"] == ".+"


def test_releases_are_marked_where_they_matter(made: dict[str, dict[str, Any]]) -> None:
    def markers(uid: str) -> list[str]:
        return [one["expr"] for one in made[uid]["annotations"].get("list", [])]

    (mine,) = markers("service-auth")
    assert 'service=~"auth"' in mine and " unless " in mine and "offset 1m" in mine
    assert 'service=~"$service"' in markers("releases")[0] and 'service=~".+"' in markers("slo-overview")[0]
    assert markers("capacity") == []


def test_latencies_lead_to_traces(made: dict[str, dict[str, Any]]) -> None:
    latency = next(panel for panel in panels(made["service-auth"]) if panel["title"] == "Latency")
    assert {target["exemplar"] for target in latency["targets"]} == {True}
    assert any("_bucket{" in target["expr"] for target in latency["targets"]), "what is recorded has no exemplars"


def test_every_dashboard_leads_to_the_others(made: dict[str, dict[str, Any]]) -> None:
    for uid, dashboard in made.items():
        links = {link["title"]: link for link in dashboard["links"]}
        assert links["Dashboards"]["tags"] == ["opsforge"] and "opsforge" in dashboard["tags"]
        assert ("Releases" in links) == uid.startswith("service-")


def shown(panel: Panel) -> dict[str, Any]:
    """One panel as Grafana would read it."""
    dashboard = Dashboard("x", "X", "X.", (Row("R", (panel,)),))
    sdk = _grafana._Sdk.found()
    text = json.dumps(_grafana._dashboard(sdk, dashboard, "apps"), cls=sdk.encoder.JSONEncoder)
    (found,) = panels(json.loads(text))
    return found


@pytest.mark.parametrize(
    "thresholds, steps",
    [
        ((), [(None, "green")]),
        ((Threshold(1), Threshold(2, CRITICAL)), [(None, "green"), (1, "orange"), (2, "red")]),
        ((Threshold(1, CRITICAL, below=True),), [(None, "red"), (1, "green")]),
        (
            (Threshold(0.25, below=True), Threshold(0, CRITICAL, below=True)),
            [(None, "red"), (0, "orange"), (0.25, "green")],
        ),
    ],
)
def test_limits_are_colors_from_below(thresholds: tuple[Threshold, ...], steps: list[tuple[float | None, str]]) -> None:
    panel = shown(graph("N", "N.", "up", thresholds=thresholds))
    found = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in found] == steps


def test_nothing_is_cut_off_at_the_ends_of_an_axis(made: dict[str, dict[str, Any]]) -> None:
    (budget,) = (panel for panel in panels(made["slo-overview"]) if panel["title"] == "Error budget left")
    ends = budget["fieldConfig"]["defaults"]["custom"]
    assert (ends["axisSoftMin"], ends["axisSoftMax"]) == (0, 1)
    for dashboard in made.values():
        for panel in panels(dashboard):
            assert not {"min", "max"} & set(panel.get("fieldConfig", {}).get("defaults", {})), panel["title"]


def test_logs_are_asked_of_loki() -> None:
    panel = shown(Panel("L", "L.", (Query('{job="auth-service"}', source=LOKI),), kind=LOGS))
    assert panel["type"] == "logs" and panel["datasource"] == {"type": "loki", "uid": "${loki}"}


def test_a_table_names_its_columns_by_its_queries(made: dict[str, dict[str, Any]]) -> None:
    (promises,) = (panel for panel in panels(made["slo-overview"]) if panel["type"] == "table")
    organize = next(one for one in promises["transformations"] if one["id"] == "organize")["options"]
    assert organize["renameByName"]["Value #E"] == "budget left" and organize["excludeByName"] == {"Time": True}
    (runs,) = (panel for panel in panels(made["service-auth"]) if panel["type"] == "table")
    assert runs["transformations"][1]["options"]["renameByName"] == {"Value": "pods"}


def test_without_the_sdk_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("grafana_foundation_sdk")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk", None)
    with pytest.raises(NotFound, match="pip install grafana-foundation-sdk==0.0.21"):
        _grafana.grafana_dashboards({}, "apps")


def test_the_version_that_it_names_is_the_one_that_is_installed() -> None:
    assert _grafana.SDK in (CHECKOUT / "requirements/dev.in").read_text(encoding="utf-8").splitlines()


def test_config_maps_are_few_and_not_too_large() -> None:
    texts = {f"d{at}": "x" * 400 for at in range(5)}
    maps = _grafana.config_maps(texts, size=1000)
    assert [sorted(data) for data in maps] == [["d0.json", "d1.json"], ["d2.json", "d3.json"], ["d4.json"]]
    assert _grafana.config_maps({"large": "x" * 2000}, size=1000) == [{"large.json": "x" * 2000}]


# -- the role ------------------------------------------------------------------------------------------------------


def test_grafana_is_there_where_it_is_wanted(objects: Objects) -> None:
    assert ("Deployment", "grafana") in objects and ("Deployment", "grafana") not in render()


def test_every_dashboard_is_mounted(objects: Objects) -> None:
    maps = {name: found["data"] for (kind, name), found in objects.items() if name.startswith("grafana-dashboards-")}
    pod = objects["Deployment", "grafana"]["spec"]["template"]["spec"]
    (volume,) = (one["projected"]["sources"] for one in pod["volumes"] if one["name"] == "dashboards")
    assert {source["configMap"]["name"] for source in volume} == set(maps)
    uids = {json.loads(text)["uid"] for data in maps.values() for text in data.values()}
    assert {"service-auth", "service-worker", "application-health"} <= uids
    for data in maps.values():
        assert sum(map(len, data.values())) < 1 << 20


def test_a_second_run_asks_for_the_same(objects: Objects) -> None:
    again = render(monitoring_grafana_enabled=True, __monitoring_grafana_known={"admin-password": "kept"})
    assert base64.b64decode(again["Secret", "grafana"]["data"]["admin-password"]) == b"kept"
    assert len(base64.b64decode(objects["Secret", "grafana"]["data"]["admin-password"])) == 32
    for key in objects:
        if key != ("Secret", "grafana"):
            assert again[key] == objects[key], key
    provider = yaml.safe_load(objects["ConfigMap", "grafana"]["data"]["dashboards.yml"])["providers"][0]
    assert provider["disableDeletion"] is True and provider["allowUiUpdates"] is False


def test_grafana_is_held_to_restricted(objects: Objects) -> None:
    pod = objects["Deployment", "grafana"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 472
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container["resources"]["limits"] and not pod["automountServiceAccountToken"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/etc/opsforge/secret/admin-password"
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/var/lib/grafana", "/var/log/grafana", "/tmp"}


def test_grafana_may_ask_its_stores_only(objects: Objects) -> None:
    policy = objects["NetworkPolicy", "grafana"]["spec"]
    assert policy["policyTypes"] == ["Egress"] and policy["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "grafana"
    }
    assert "ipBlock" not in str(policy)
    dns, prometheus, *stores = policy["egress"]
    assert dns["ports"] and prometheus["ports"] == [{"port": 9090}]
    assert [places(rule) for rule in stores] == [("logging", 3100), ("logging", 16686)]


def places(rule: dict[str, Any]) -> tuple[str, int]:
    """The one namespace and the one port that a rule leads to."""
    (to,), (port,) = rule["to"], rule["ports"]
    return to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"]


def test_grafana_is_let_out_to_where_its_stores_are() -> None:
    settings = {"monitoring_grafana_loki_url": "http://loki-gateway.lines.svc.cluster.local:8080/loki"}
    settings["monitoring_grafana_jaeger_url"] = ""
    policy = render(monitoring_grafana_enabled=True, **settings)["NetworkPolicy", "grafana"]["spec"]
    assert [places(rule) for rule in policy["egress"][2:]] == [("lines", 8080)]
    assert evaluate("{{ __monitoring_grafana_unreachable }}", **settings) == []


@pytest.mark.parametrize("url", ["https://loki.example.org", "http://loki:3100", "http://10.0.0.1:3100", "loki"])
def test_a_store_that_grafana_is_not_let_out_to_is_refused(url: str) -> None:
    assert evaluate("{{ __monitoring_grafana_unreachable }}") == []
    found = evaluate("{{ __monitoring_grafana_unreachable }}", monitoring_grafana_loki_url=url)
    assert found == ["monitoring_grafana_loki_url"]


def sources(found: Objects) -> dict[str, Any]:
    """The datasources by their uid."""
    config = yaml.safe_load(found["ConfigMap", "grafana"]["data"]["datasources.yml"])
    return {source["uid"]: source for source in config["datasources"]}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["close", "spaced"])
def test_a_line_leads_to_its_trace(objects: Objects, separators: tuple[str, str]) -> None:
    (field,) = sources(objects)["loki"]["jsonData"]["derivedFields"]
    trace = "0af7651916cd43dd8448eb211c80319c"
    line = {"event": "paid", "trace_id": trace, "span_id": "b7ad6b7169203331"}
    found = re.search(field["matcherRegex"], json.dumps(line, separators=separators))
    assert found and found[1] == trace
    assert not re.search(field["matcherRegex"], json.dumps(line | {"trace_id": ""}, separators=separators))


def test_what_is_not_there_is_no_datasource(objects: Objects) -> None:
    every = sources(objects)
    assert set(every) == {"prometheus", "loki", "jaeger"} and every["prometheus"]["isDefault"]
    assert every["loki"]["jsonData"]["derivedFields"][0]["datasourceUid"] == "jaeger"
    lines = every["jaeger"]["jsonData"]["tracesToLogsV2"]["query"]
    assert lines.startswith('{namespace="apps"} |= '), "names of containers elsewhere are anybody's to choose"
    settings = {"monitoring_grafana_loki_url": "", "monitoring_grafana_jaeger_url": ""}
    alone = sources(render(monitoring_grafana_enabled=True, **settings))
    assert set(alone) == {"prometheus"} and "exemplarTraceIdDestinations" not in alone["prometheus"]["jsonData"]
