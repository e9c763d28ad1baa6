# SPDX-License-Identifier: GPL-3.0-or-later
"""Every container's lines are found by label, a request by its id, its trace in Jaeger; errors reach Alertmanager."""

from __future__ import annotations

import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from loadtests.walk import Answer, Loopback, Shop

if TYPE_CHECKING:
    from conftest import Ask, Site

HTTP_NODE_PORT = 30080
LABELS = {"job", "namespace", "service", "slot", "level", "node"}


@dataclass
class Noting(Loopback):
    """Sends to the entrance, and keeps the id that the latest request of each kind got there."""

    ids: dict[str, str] = field(default_factory=dict)

    def __call__(self, method: str, path: str, *, name: str, headers: Mapping[str, str], body: object | None) -> Answer:
        answer = super().__call__(method, path, name=name, headers=headers, body=body)
        self.ids[f"{method} {path}"] = answer.headers.get("x-request-id", "")
        return answer


@pytest.fixture
def count(ask: Ask) -> Callable[[str], list[tuple[dict[str, str], int]]]:
    """Count by LogQL: the labels of each answer, and its number."""

    def query(logql: str) -> list[tuple[dict[str, str], int]]:
        found = ask("logging/loki", "loki/api/v1/query", query=logql)["data"]["result"]
        return [(one["metric"], int(one["value"][1])) for one in found]

    return query


def services(site: Site) -> set[str]:
    releases = site.cluster.list("v1", "ConfigMap", labels={"opsforge.dev/component": "releases"})
    return {found["metadata"]["name"].removesuffix("-releases") for found in releases}


def knock(site: Site, path: str, **headers: str) -> str:
    """Ask the entrance once, and return the id that the request got there."""
    request = urllib.request.Request(f"http://{site.published(HTTP_NODE_PORT)}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
        request_id: str = answer.headers["x-request-id"]
        return request_id


def test_every_service_is_found_by_its_job_and_slot(site: Site, count: Any) -> None:
    wanted = {f"{name}-service" for name in services(site)}
    assert wanted, "no service is there to be found"

    def missing() -> set[str]:
        question = 'sum by (job) (count_over_time({job=~".+-service", slot=~"blue|green"}[24h]))'
        return wanted - {labels["job"] for labels, _ in count(question)}

    site.eventually(lambda: not missing())


def test_a_migration_is_found_with_its_service(site: Site, count: Any) -> None:
    """Of a platform that was made, or got a version, within a month."""
    question = 'sum by (job) (count_over_time({namespace="apps"} | container="migrate" [744h]))'
    seen = {labels["job"] for labels, _ in count(question)}
    assert seen and seen <= {f"{name}-service" for name in services(site)}


def test_every_node_and_the_control_plane_are_found(site: Site, count: Any) -> None:
    nodes = {node["metadata"]["name"] for node in site.cluster.list("v1", "Node")}
    question = 'sum by (node, job) (count_over_time({namespace="kube-system"}[24h]))'
    seen = [labels for labels, _ in count(question)]
    assert {labels["node"] for labels in seen} == nodes
    assert {"kube-system/kube-apiserver", "kube-system/etcd"} <= {labels["job"] for labels in seen}


def test_labels_are_few(ask: Ask) -> None:
    assert set(ask("logging/loki", "loki/api/v1/labels", since="24h")["data"]) <= LABELS
    levels = ask("logging/loki", "loki/api/v1/label/level/values", since="24h")["data"]
    assert set(levels) <= {"debug", "info", "warning", "error", "critical"}


def test_a_line_is_there_within_seconds(site: Site, count: Any) -> None:
    mark = knock(site, "/auth/info")
    question = f'sum by (service) (count_over_time({{job="auth-service"}} |= "{mark}" [5m]))'
    found = site.eventually(lambda: count(question), 15)
    assert found == [({"service": "auth"}, 1)], "once, however often it was sent"


def test_one_request_is_followed_through_all_services(site: Site, count: Any) -> None:
    """Also what is done later for it: by the driver of orders, by whoever hears of the order, by the worker."""
    entrance = Noting(f"http://{site.published(HTTP_NODE_PORT)}")
    customer = Shop(entrance, patience=60).sign_up()
    assert customer.buy(customer.browse()[0]["id"])["state"] == "fulfilled"
    customer.have_computed(uuid4().hex)
    checkout, job = (entrance.ids[request] for request in ("POST /orders/checkout", "POST /jobs/api/job"))
    assert checkout and job and checkout != job
    steps = {  # which event of which service tells of the step
        checkout: {
            ("orders", "request"),
            ("orders", "order moved"),
            ("catalog", "request"),
            ("payments", "request"),
            ("payments", "payment ended"),
            ("notifications", "event handled"),
            ("analytics", "event handled"),
        },
        job: {("jobs", "request"), ("worker", "job")},
    }
    lines = (
        'sum by (service, event) (count_over_time({job=~".+-service"} | request_id="%s" | json event="event" [10m]))'
    )

    def missing() -> dict[str, set[tuple[str, str]]]:
        found = {one: {(of["service"], of.get("event", "")) for of, _ in count(lines % one)} for one in steps}
        return {one: left for one, wanted in steps.items() if (left := wanted - found[one])}

    site.eventually(lambda: not missing(), 60)


def test_the_trace_of_a_request_stands_in_jaeger(site: Site, ask: Ask, count: Any) -> None:
    """One in ten is kept (`platform_traces_share`), and nobody outside can say which: so it is asked until one is."""
    mine: set[str] = set()
    begun = time.time()
    lines = 'sum by (trace_id) (count_over_time({job="catalog-service"} | request_id=~"%s" [5m]))'

    def stored() -> list[dict[str, Any]]:
        if len(mine) < 80:
            mine.update(knock(site, "/catalog/products") for _ in range(10))
        traces = {labels.get("trace_id") for labels, _ in count(lines % "|".join(sorted(mine)))}
        found = ask("logging/jaeger", "api/traces", service="catalog", lookback="1h", limit="1000")["data"]
        return [one for one in found if one["traceID"] in traces]

    assert "GET /products" in {span["operationName"] for one in site.eventually(stored, 60) for span in one["spans"]}

    def exemplars() -> set[str]:
        """The traces that Prometheus knows of these requests: what it read before may be older than a fault."""
        query = 'http_request_duration_seconds_bucket{service="catalog",route="/products"}'
        window = {"start": str(begun), "end": str(time.time())}
        found = ask("monitoring/prometheus", "api/v1/query_exemplars", query=query, **window)["data"]
        return {one["labels"].get("trace_id", "") for series in found for one in series["exemplars"]}

    site.eventually(lambda: exemplars() & {one["traceID"] for one in stored()}, 60)


def test_who_is_outside_does_not_say_what_is_traced(site: Site, count: Any) -> None:
    trace = uuid4().hex
    mark = knock(site, "/catalog/products", traceparent=f"00-{trace}-{uuid4().hex[:16]}-01", tracestate="a=b")
    question = 'sum by (trace_id) (count_over_time({job="catalog-service"} | request_id="%s" [5m]))'
    found = site.eventually(lambda: count(question % mark), 15)
    assert len(found) == 1 and found[0][0]["trace_id"] not in {"", trace}


def test_errors_in_the_log_reach_alertmanager(site: Site, ask: Ask) -> None:
    """Lines that a test writes, not a service: the label `job` names its container."""
    found = site.cluster.get("apps/v1", "StatefulSet", "postgresql", "datastores")
    assert found
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    script = """for i in $(seq 25); do echo '{"level":"error","event":"written by a test"}'; done"""
    site.run("apps", image, script)

    def arrived() -> list[dict[str, str]]:
        labels = [alert["labels"] for alert in ask("monitoring/alertmanager", "api/v2/alerts")]
        return [one for one in labels if (one["alertname"], one.get("service")) == ("LogErrorsHigh", "main")]

    (alert,) = site.eventually(arrived, 90)
    assert (alert["severity"], alert["team"], alert["namespace"]) == ("warning", "api", "apps")


def test_every_rule_evaluates(ask: Ask) -> None:
    groups = ask("logging/loki", "prometheus/api/v1/rules")["data"]["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert {"LogErrorsHigh", "LogsMissing"} <= set(rules)
    assert [(name, rule["lastError"]) for name, rule in rules.items() if rule["health"] == "err"] == []
    assert rules["LogsMissing"]["state"] == "inactive"


def test_nothing_is_published_or_ran_out_of_memory(site: Site) -> None:
    assert {found["spec"]["type"] for found in site.cluster.list("v1", "Service", "logging")} == {"ClusterIP"}
    pods = site.cluster.list("v1", "Pod", "logging")
    pods += site.cluster.list("v1", "Pod", "kube-system", {"app.kubernetes.io/name": "collector"})
    states = {
        pod["metadata"]["name"]: status["lastState"].get("terminated", {}).get("reason")
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }
    assert len(states) >= 3 and "OOMKilled" not in states.values(), states


def test_other_namespaces_are_not_let_in(site: Site) -> None:
    """By NetworkPolicy: the name resolves, the connection does not come about."""
    found = site.cluster.get("apps/v1", "StatefulSet", "postgresql", "datastores")
    assert found
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    script = """
      for place in loki.logging/3100 jaeger.logging/16686 collector.kube-system/4318; do
        getent hosts ${place%/*}.svc.cluster.local > /dev/null
        timeout 3 bash -c "exec 3<>/dev/tcp/$place" 2> /dev/null && echo open || echo closed
      done
    """
    assert site.run(site.namespace(), image, script).split() == ["closed"] * 3
