# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that runs is seen, every rule evaluates, and an alert reaches Alertmanager."""

from __future__ import annotations

import datetime
import json
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from ansible_collections.opsforge.platform.plugins.module_utils._http import Pool
from ansible_collections.opsforge.platform.plugins.module_utils._kubeconfig import load_endpoint
from loadtests.entrance import entrance
from loadtests.walk import Loopback, Shop

CHECKOUT = Path(__file__).parents[3]
KUBECONFIG = str(CHECKOUT / ".state" / os.environ.get("OPSFORGE_PLATFORM", "opsforge") / "kubeconfig")
RULES = CHECKOUT / "collections/ansible_collections/opsforge/platform/roles/monitoring/files/rules"

# What an alert selects its fault by: on a platform that is well no series has these values.
FAULTS = {
    "alertname",
    "annotation_opsforge_dev_traffic_slot",
    "code",
    "condition",
    "envoy_response_code_class",
    "outcome",
    "rcode",
    "reason",
}
FAULTS |= {"configmap", "label_opsforge_dev_component", "label_opsforge_dev_incident_state", "phase", "state", "status"}
# What is there only after something happened, or where somebody set it up.
RARE = re.compile(
    "opsforge_backup_.+|prometheus_remote_storage_.+|kubelet_volume_stats_.+|.+:kubelet_volume_stats_available:ratio"
    "|kube_configmap_.+|kube_job_failed|kube_pod_(completion_time|deletion_timestamp|status_unschedulable)"
    "|kube_pod_.*container_status_(.*terminated|waiting)_.+|(jobs|payments)_total|payments_differences"
    "|.+:kube_service_annotations:down|.+:gateway_down|.+:http_errors:known"
    "|otelcol_.+_(send_failed|enqueue_failed|refused)_log_records|loki_discarded_samples_total"
)

# Alerts look back five minutes, are kept up for two more, and what has ended is told a minute later.
FORGOTTEN_SECONDS = 8 * 60

Ask = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def ask() -> Ask:
    """Ask one of the stack's Services through the API server's proxy, as people do."""
    pool = Pool(load_endpoint(KUBECONFIG, None))

    def get(service: str, path: str) -> Any:
        answer = pool.request("GET", f"/api/v1/namespaces/monitoring/services/{service}:http/proxy/{path}")
        assert answer.status == 200, answer.body.decode()
        return json.loads(answer.body)

    return get


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return connect({"kubeconfig": KUBECONFIG})


@pytest.fixture(scope="module")
def targets(ask: Ask) -> list[dict[str, Any]]:
    return ask("prometheus", "api/v1/targets?state=active")["data"]["activeTargets"]


def settled(pod: dict[str, Any]) -> bool:
    """Whether a pod has been ready for a minute: one that starts or ends may well not answer."""
    conditions: list[dict[str, str]] = pod["status"].get("conditions", [])
    ready = next((found for found in conditions if found["type"] == "Ready"), {})
    if ready.get("status") != "True" or "deletionTimestamp" in pod["metadata"]:
        return False
    since = datetime.datetime.fromisoformat(ready["lastTransitionTime"])
    return datetime.datetime.now(datetime.UTC) - since > datetime.timedelta(minutes=1)


def test_every_target_answers(targets: list[dict[str, Any]], cluster: Cluster) -> None:
    pods = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in cluster.list("v1", "Pod")}

    def excused(labels: dict[str, str]) -> bool:
        return "pod" in labels and not settled(pods.get((labels["namespace"], labels["pod"]), {"status": {}}))

    silent = [target for target in targets if target["health"] != "up" and not excused(target["labels"])]
    assert [(target["scrapeUrl"], target["lastError"]) for target in silent] == []


def test_every_part_of_the_platform_is_a_target(targets: list[dict[str, Any]], cluster: Cluster) -> None:
    seen = {target["labels"]["job"] for target in targets}
    components = {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet", "cadvisor"}
    components |= {"kube-proxy", "coredns", "kube-router", "metrics-server", "envoy", "envoy-gateway", "mirror"}
    stack = {"prometheus", "alertmanager", "kube-state-metrics", "node-exporter"}
    stack |= {"kube-state-metrics-ends", "kube-state-metrics-records"}
    services = {found["metadata"]["name"].removesuffix("-releases") for found in _releases(cluster)}
    assert services, "no service is there to be seen"
    assert (components | stack | services) - seen == set()


def _releases(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.list("v1", "ConfigMap", labels={"opsforge.dev/component": "releases"})


def test_every_node_is_seen_by_each_node_target(targets: list[dict[str, Any]], cluster: Cluster) -> None:
    nodes = {node["metadata"]["name"] for node in cluster.list("v1", "Node")}
    for job in ("kubelet", "cadvisor", "node-exporter", "kube-proxy", "kube-router"):
        assert {target["labels"].get("node") for target in targets if target["labels"]["job"] == job} == nodes, job


def test_a_service_is_told_apart_by_slot(targets: list[dict[str, Any]], cluster: Cluster) -> None:
    for release in _releases(cluster):
        service = release["metadata"]["name"].removesuffix("-releases")
        mine = [target["labels"] for target in targets if target["labels"].get("service") == service]
        assert mine and {labels.get("slot") for labels in mine} <= {"blue", "green"}, mine


def test_every_shipped_rule_is_loaded_and_evaluates(ask: Ask) -> None:
    loaded = [rule for group in ask("prometheus", "api/v1/rules")["data"]["groups"] for rule in group["rules"]]
    names = {rule.get("alert") or rule["record"] for rule in _shipped()}
    assert names - {rule["name"] for rule in loaded} == set()
    assert [(rule["name"], rule.get("lastError")) for rule in loaded if rule["health"] == "err"] == []


def _shipped() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def _selectors(node: Any) -> Iterator[list[dict[str, str]]]:
    """The matchers of each selector of an expression, as Prometheus itself reads it."""
    if isinstance(node, list):
        for part in node:
            yield from _selectors(part)
    elif isinstance(node, dict):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            yield node["matchers"]
        for part in node.values():
            yield from _selectors(part)


@pytest.fixture(scope="module")
def visited(ask: Ask) -> None:
    """Somebody used the shop lately: what is recorded of traffic is there only then."""
    shop = Shop(Loopback(f"http://{entrance(os.environ.get('OPSFORGE_PLATFORM', 'opsforge'))}"), patience=60)
    recorded = f"api/v1/query?query={urllib.parse.quote('count(namespace_service:http_errors:ratio_rate5m) > 1')}"
    deadline = time.monotonic() + 120
    while not ask("prometheus", recorded)["data"]["result"]:
        assert time.monotonic() < deadline, "nothing is recorded of a visit"
        customer = shop.sign_up()  # again: of requests that all came before a counter was first read no rate is known
        customer.buy(customer.browse()[0]["id"])
        time.sleep(1)


@pytest.mark.usefixtures("visited")
@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in _shipped() if "alert" in rule}))
def test_what_an_alert_reads_is_there(ask: Ask, alert: str) -> None:
    """A name that nobody exposes is an alert that never fires, and no other test would tell."""
    for rule in _shipped():
        if rule.get("alert") != alert:
            continue
        parsed = ask("prometheus", f"api/v1/parse_query?query={urllib.parse.quote(rule['expr'])}")["data"]
        for matchers in _selectors(parsed):
            known = [one for one in matchers if one["name"] not in FAULTS and not one["type"].startswith("!")]
            wanted = "{" + ",".join(f"{one['name']}{one['type']}{json.dumps(one['value'])}" for one in known) + "}"
            if not any(one["name"] == "__name__" and RARE.fullmatch(one["value"]) for one in known):
                path = f"api/v1/label/__name__/values?match[]={urllib.parse.quote(wanted)}"
                assert ask("prometheus", path)["data"], wanted


def test_no_page_is_out_while_all_is_well(ask: Ask) -> None:
    path = f"api/v2/alerts?inhibited=false&filter={urllib.parse.quote('severity=critical')}"
    deadline = time.monotonic() + FORGOTTEN_SECONDS
    while (out := ask("alertmanager", path)) and time.monotonic() < deadline:
        time.sleep(1)  # what other tests broke is being forgotten
    assert [alert["annotations"]["summary"] for alert in out] == []


def test_alerts_arrive_at_alertmanager(ask: Ask) -> None:
    arrived = {alert["labels"]["alertname"] for alert in ask("alertmanager", "api/v2/alerts")}
    assert "Watchdog" in arrived


def test_neither_program_is_published(cluster: Cluster) -> None:
    types = {found["spec"]["type"] for found in cluster.list("v1", "Service", "monitoring")}
    assert types == {"ClusterIP"}


def test_nothing_of_the_stack_ran_out_of_memory(cluster: Cluster) -> None:
    """A limit that is too small shows as a kill, not as an error."""
    pods = cluster.list("v1", "Pod", "monitoring")
    states = {
        f"{pod['metadata']['name']}/{status['name']}": status["lastState"].get("terminated", {}).get("reason")
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }
    assert states and "OOMKilled" not in states.values(), states
