# SPDX-License-Identifier: GPL-3.0-or-later
"""What sizes a service, and what KEDA may do for it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.tests.unit.roles import evaluate

Object = dict[str, Any]


def render(role: str, template: str, **settings: Any) -> list[Object]:
    """The objects of one template of a role, with these settings over its defaults."""
    ask = "{{ lookup('ansible.builtin.template', template) }}"
    text = evaluate(role, ask, template=template, **settings)
    return [found for found in yaml.safe_load_all(text) if found]


def scaler(entry: Object, *, autoscaler: str | None = None, follows: str | None = None, check: bool = False) -> Object:
    """What sizes a service of this entry in the inventory; {} for nothing."""
    state = {"autoscaler": autoscaler, "autoscaler_follows": follows, "target": "blue"}
    found = render(
        "service",
        "autoscaler.yml.j2",
        service_name="auth",
        platform_services={"auth": entry},
        __service_state=state,
        ansible_check_mode=check,
    )
    return found[0] if found else {}


def trigger(found: Object, kind: str) -> Object:
    (only,) = (trigger for trigger in found["spec"]["triggers"] if trigger["type"] == kind)
    return only


RATE = {"requests_per_second": 50}


def test_a_service_that_asks_for_nothing_scales_by_cpu() -> None:
    found = scaler({"replicas_min": 3, "replicas_max": 9})
    assert (found["kind"], found["metadata"]["name"]) == ("HorizontalPodAutoscaler", "auth")
    spec = found["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    assert [metric["resource"]["name"] for metric in spec["metrics"]] == ["cpu"]


@pytest.mark.parametrize("entry", [{}, RATE], ids=["cpu", "requests"])
def test_growing_is_fast_and_shrinking_is_slow_unless_told_otherwise(entry: Object) -> None:
    def windows(**times: int) -> list[int]:
        spec = scaler(entry | times)["spec"]
        behavior = spec.get("behavior") or spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return [behavior[way]["stabilizationWindowSeconds"] for way in ("scaleUp", "scaleDown")]

    assert windows() == [0, 120]
    assert windows(scale_up_seconds=30, scale_down_seconds=600) == [30, 600]


@pytest.mark.parametrize("entry", [{}, RATE], ids=["cpu", "requests"])
def test_the_slot_that_the_switch_chose_stays(entry: Object) -> None:
    assert scaler(entry)["spec"]["scaleTargetRef"]["name"] == "auth-blue"
    assert scaler(entry, follows="green")["spec"]["scaleTargetRef"]["name"] == "auth-green"


def test_requests_are_shared_among_pods_and_counted_over_both_slots() -> None:
    found = scaler(RATE)
    assert (found["kind"], found["metadata"]["name"]) == ("ScaledObject", "auth")
    assert trigger(found, "cpu")["metadata"] == {"value": "70"}
    asked = trigger(found, "prometheus")
    assert (asked["metricType"], asked["metadata"]["threshold"]) == ("AverageValue", "50")
    assert asked["metadata"]["serverAddress"] == "http://prometheus.monitoring.svc:9090"
    query = asked["metadata"]["query"]
    assert 'sum(rate(http_requests_total{namespace="apps",service="auth"}[1m]))' in query
    assert "slot" not in query, "a switch must not change what is asked"


def test_the_age_of_a_queue_is_the_same_for_all_pods() -> None:
    asked = trigger(scaler({"queue_age_seconds": 5}), "prometheus")
    assert (asked["metricType"], asked["metadata"]["threshold"]) == ("Value", "5")
    assert asked["metadata"]["query"] == 'max(queue_oldest_age_seconds{namespace="apps",service="auth"})'


@pytest.mark.parametrize("entry", [RATE, {"queue_age_seconds": 5}], ids=["requests", "queue"])
def test_a_silent_prometheus_neither_shrinks_nor_grows_a_service(entry: Object) -> None:
    """Without a fallback and with nulls as errors, the autoscaler gets no number, and keeps the size."""
    found = scaler(entry)
    assert "fallback" not in found["spec"]
    assert trigger(found, "prometheus")["metadata"]["ignoreNullValues"] == "false"


def test_no_service_ever_scales_to_nothing() -> None:
    spec = scaler(RATE | {"replicas_min": 1})["spec"]
    assert spec["minReplicaCount"] == 1
    assert "idleReplicaCount" not in spec


def test_the_autoscaler_of_before_goes_on_under_its_name() -> None:
    found = scaler(RATE, autoscaler="HorizontalPodAutoscaler")
    assert found["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"] == "auth"
    assert found["metadata"]["annotations"] == {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}


def test_the_way_back_to_cpu_is_not_tried_in_a_check() -> None:
    """KEDA still owns the fields there: the server would refuse what a run, which deletes first, may write."""
    assert scaler({}, autoscaler="ScaledObject")["kind"] == "HorizontalPodAutoscaler"
    assert scaler({}, autoscaler="ScaledObject", check=True) == {}


@pytest.fixture(scope="module")
def keda() -> dict[tuple[str, str], Object]:
    found = render("autoscaling", "keda.yml.j2", autoscaling_service_namespaces=["apps", "more"])
    return {(obj["kind"], f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"): obj for obj in found}


def test_keda_may_do_nothing_that_is_not_named(keda: dict[tuple[str, str], Object]) -> None:
    rules = [rule for (kind, _), obj in keda.items() if kind in ("Role", "ClusterRole") for rule in obj["rules"]]
    assert all("*" not in rule["apiGroups"] and "*" not in rule["verbs"] for rule in rules)
    assert [rule["apiGroups"] for rule in rules if "*" in rule["resources"]] == [["external.metrics.k8s.io"]]


def test_keda_reads_secrets_of_its_own_namespace_only(keda: dict[tuple[str, str], Object]) -> None:
    holders = [
        where
        for (kind, where), obj in keda.items()
        if kind in ("Role", "ClusterRole") and any("secrets" in rule["resources"] for rule in obj["rules"])
    ]
    assert holders == ["autoscaling/keda-operator"]


def test_keda_works_in_the_namespaces_that_were_named(keda: dict[tuple[str, str], Object]) -> None:
    roles = [where for kind, where in keda if kind == "Role"]
    assert sorted(roles) == ["apps/keda-operator", "autoscaling/keda-operator", "more/keda-operator"]
    (container,) = keda["Deployment", "autoscaling/keda-operator"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "WATCH_NAMESPACE", "value": "apps,more"} in container["env"]


def test_keda_reaches_the_api_server_dns_and_prometheus_only(keda: dict[tuple[str, str], Object]) -> None:
    edges = keda["NetworkPolicy", "autoscaling/keda-operator"]["spec"]["egress"]
    assert [sorted({port["port"] for port in edge["ports"]}) for edge in edges] == [[6443], [53], [9090]]
    assert edges[0]["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    assert edges[2]["to"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
    closed = keda["NetworkPolicy", "autoscaling/default-deny"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_pods_of_keda_are_restricted(keda: dict[tuple[str, str], Object]) -> None:
    for (kind, where), obj in keda.items():
        if kind == "Deployment":
            pod = obj["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"], where
            assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in pod["containers"]), where
            assert all(c["resources"]["limits"]["memory"] for c in pod["containers"]), where
