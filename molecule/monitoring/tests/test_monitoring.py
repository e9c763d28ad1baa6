# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that runs is seen, and an alert reaches Alertmanager."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Ask, Site

# Alerts look back five minutes, are kept up for two more, and what has ended is told a minute later.
FORGOTTEN_SECONDS = 8 * 60


@pytest.fixture(scope="module")
def targets(ask: Ask) -> list[dict[str, Any]]:
    return ask("monitoring/prometheus", "api/v1/targets", state="active")["data"]["activeTargets"]


def settled(pod: dict[str, Any]) -> bool:
    """Whether a pod has been ready for a minute: one that starts or ends may well not answer."""
    conditions: list[dict[str, str]] = pod["status"].get("conditions", [])
    ready = next((found for found in conditions if found["type"] == "Ready"), {})
    if ready.get("status") != "True" or "deletionTimestamp" in pod["metadata"]:
        return False
    since = datetime.datetime.fromisoformat(ready["lastTransitionTime"])
    return datetime.datetime.now(datetime.UTC) - since > datetime.timedelta(minutes=1)


def test_every_target_answers(targets: list[dict[str, Any]], site: Site) -> None:
    pods = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in site.cluster.list("v1", "Pod")}

    def excused(labels: dict[str, str]) -> bool:
        return "pod" in labels and not settled(pods.get((labels["namespace"], labels["pod"]), {"status": {}}))

    silent = [target for target in targets if target["health"] != "up" and not excused(target["labels"])]
    assert [(target["scrapeUrl"], target["lastError"]) for target in silent] == []


def test_every_part_of_the_platform_is_a_target(targets: list[dict[str, Any]], site: Site) -> None:
    seen = {target["labels"]["job"] for target in targets}
    components = {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet", "cadvisor"}
    components |= {"kube-proxy", "coredns", "kube-router", "metrics-server", "envoy", "envoy-gateway", "mirror"}
    stack = {"prometheus", "alertmanager", "kube-state-metrics", "node-exporter"}
    stack |= {"kube-state-metrics-ends", "kube-state-metrics-records"}
    services = {found["metadata"]["name"].removesuffix("-releases") for found in _releases(site)}
    assert services, "no service is there to be seen"
    assert (components | stack | services) - seen == set()


def _releases(site: Site) -> list[dict[str, Any]]:
    return site.cluster.list("v1", "ConfigMap", labels={"opsforge.dev/component": "releases"})


def test_every_node_is_seen_by_each_node_target(targets: list[dict[str, Any]], site: Site) -> None:
    nodes = {node["metadata"]["name"] for node in site.cluster.list("v1", "Node")}
    for job in ("kubelet", "cadvisor", "node-exporter", "kube-proxy", "kube-router"):
        assert {target["labels"].get("node") for target in targets if target["labels"]["job"] == job} == nodes, job


def test_a_service_is_told_apart_by_slot(targets: list[dict[str, Any]], site: Site) -> None:
    for release in _releases(site):
        service = release["metadata"]["name"].removesuffix("-releases")
        mine = [target["labels"] for target in targets if target["labels"].get("service") == service]
        assert mine and {labels.get("slot") for labels in mine} <= {"blue", "green"}, mine


def test_no_page_is_out_while_all_is_well(ask: Ask) -> None:
    def pages() -> list[str]:
        out = ask("monitoring/alertmanager", "api/v2/alerts", inhibited="false", filter="severity=critical")
        return [alert["annotations"]["summary"] for alert in out]

    deadline = time.monotonic() + FORGOTTEN_SECONDS
    while (out := pages()) and time.monotonic() < deadline:
        time.sleep(1)  # what other tests broke is being forgotten
    assert out == []


def test_alerts_arrive_at_alertmanager(ask: Ask) -> None:
    arrived = {alert["labels"]["alertname"] for alert in ask("monitoring/alertmanager", "api/v2/alerts")}
    assert "Watchdog" in arrived


def test_neither_program_is_published(site: Site) -> None:
    types = {found["spec"]["type"] for found in site.cluster.list("v1", "Service", "monitoring")}
    assert types == {"ClusterIP"}


def test_nothing_of_the_stack_ran_out_of_memory(site: Site) -> None:
    """A limit that is too small shows as a kill, not as an error."""
    pods = site.cluster.list("v1", "Pod", "monitoring")
    states = {
        f"{pod['metadata']['name']}/{status['name']}": status["lastState"].get("terminated", {}).get("reason")
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }
    assert states and "OOMKilled" not in states.values(), states
