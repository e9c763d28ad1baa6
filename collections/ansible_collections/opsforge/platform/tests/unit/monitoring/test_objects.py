# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks of a cluster."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.tests.unit.roles import CHECKOUT, ROLES, Objects

from .rendering import prometheus_config, render


def alertmanager_config(objects: Objects) -> dict[str, Any]:
    return yaml.safe_load(base64.b64decode(objects["Secret", "alertmanager"]["data"]["alertmanager.yml"]))


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    """(namespace, pod spec) of every workload."""
    for found in objects.values():
        if "template" in found.get("spec", {}):
            yield found["metadata"]["namespace"], found["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def objects() -> Objects:
    return render()


def test_only_the_node_exporter_needs_the_host(objects: Objects) -> None:
    host = {namespace for namespace, pod in pods(objects) if pod.get("hostNetwork") or pod.get("hostPID")}
    assert host == {"kube-system"}
    namespace = objects["Namespace", "monitoring"]["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_container_is_held_to_restricted_and_to_a_memory_limit(objects: Objects) -> None:
    for _, pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"] and "readinessProbe" in container


def test_rights_only_read_and_never_secrets(objects: Objects) -> None:
    rules = [rule for (kind, _), found in objects.items() if kind in ("ClusterRole", "Role") for rule in found["rules"]]
    assert rules
    for rule in rules:
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
        assert not {"*", "secrets", "nodes/proxy"} & set(rule.get("resources", []))


def test_config_maps_are_seen_where_records_are_and_nowhere_else(objects: Objects) -> None:
    places = [
        found["metadata"].get("namespace")
        for (kind, _), found in objects.items()
        for rule in (found["rules"] if kind in ("ClusterRole", "Role") else [])
        if "configmaps" in rule.get("resources", [])
    ]
    assert places == ["apps"]
    (container,) = objects["Deployment", "kube-state-metrics-records"]["spec"]["template"]["spec"]["containers"]
    assert {"--namespaces=apps", "--resources=configmaps"} < set(container["args"])


def test_state_metrics_may_see_exactly_what_it_shows(objects: Objects) -> None:
    role = objects["ClusterRole", "opsforge:kube-state-metrics"]
    (container,) = objects["Deployment", "kube-state-metrics"]["spec"]["template"]["spec"]["containers"]
    shown = next(arg.removeprefix("--resources=") for arg in container["args"] if arg.startswith("--resources="))
    assert set(shown.split(",")) == {resource for rule in role["rules"] for resource in rule["resources"]}


def test_everything_that_runs_is_scraped(objects: Objects) -> None:
    jobs = {job["job_name"] for job in prometheus_config(objects)["scrape_configs"]}
    assert jobs == {
        "kube-apiserver",
        "kubelet",
        "cadvisor",
        "kubelet-probes",
        "kube-controller-manager",
        "kube-scheduler",
        "etcd",
        "kube-proxy",
        "coredns",
        "metrics-server",
        "kube-state-metrics",
        "kube-state-metrics-ends",
        "kube-state-metrics-records",
        "mirror",
        "pods",
    }
    annotated = [
        found["metadata"]["name"]
        for found in objects.values()
        if "prometheus.io/scrape"
        in found.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    ]
    assert sorted(annotated) == ["alertmanager", "node-exporter", "prometheus"]


def test_the_mirror_is_scraped_where_it_has_metrics(objects: Objects) -> None:
    def found(objects: Objects) -> list[dict[str, Any]]:
        return [job for job in prometheus_config(objects)["scrape_configs"] if job["job_name"] == "mirror"]

    assert found(objects) == [{"job_name": "mirror", "static_configs": [{"targets": ["172.30.0.2:5001"]}]}]
    assert found(render(monitoring_mirror_metrics="")) == []


def test_the_token_is_sent_to_components_only(objects: Objects) -> None:
    """Anybody may annotate a pod: whoever does must not be handed Prometheus' token."""
    trusted = {job["job_name"] for job in prometheus_config(objects)["scrape_configs"] if "authorization" in job}
    assert trusted == {
        "kube-apiserver",
        "kubelet",
        "cadvisor",
        "kubelet-probes",
        "kube-controller-manager",
        "kube-scheduler",
        "metrics-server",
    }


def test_a_pod_of_unknown_name_keeps_the_job_label(objects: Objects) -> None:
    """An empty source with the default expression would take the label away."""
    pods_job = next(job for job in prometheus_config(objects)["scrape_configs"] if job["job_name"] == "pods")
    rules = [rule for rule in pods_job["relabel_configs"] if rule.get("target_label") == "job"]
    assert rules and all(rule["regex"] == "(.+)" for rule in rules)


def shipped_alerts(objects: Objects) -> Iterator[dict[str, Any]]:
    for name, content in objects["ConfigMap", "prometheus"]["data"].items():
        for group in yaml.safe_load(content).get("groups", []):
            yield from (rule for rule in group["rules"] if "alert" in rule and name != "rules-extra.yml")


def test_pages_and_dashboards_are_found_where_the_site_publishes_them() -> None:
    docs, dashboards = "https://docs.example.org/", "https://grafana.example.org/d/"
    alerts = list(shipped_alerts(render(monitoring_docs_url=docs, monitoring_dashboards_url=dashboards)))
    assert {alert["annotations"]["runbook_url"].startswith(f"{docs}runbooks/") for alert in alerts} == {True}
    urls = [alert["annotations"]["dashboard_url"] for alert in alerts if "dashboard_url" in alert["annotations"]]
    assert urls and all(url.startswith(dashboards) for url in urls)


def test_every_rule_file_reaches_prometheus(objects: Objects) -> None:
    shipped = {f"rules-{path.name}" for path in (ROLES / "monitoring/files/rules").glob("*.yml")}
    keys = {name for name in objects["ConfigMap", "prometheus"]["data"] if name.startswith("rules-")}
    assert shipped and keys == shipped | {"rules-slo.yml", "rules-extra.yml"}
    assert prometheus_config(objects)["rule_files"] == ["/etc/prometheus/rules-*.yml"]


def test_a_service_that_promises_something_is_watched(objects: Objects) -> None:
    rules = objects["ConfigMap", "prometheus"]["data"]["rules-slo.yml"]
    assert 'service="auth"' in rules and 'service=~"worker|jobs"' in rules
    assert yaml.safe_load(render(monitoring_services={})["ConfigMap", "prometheus"]["data"]["rules-slo.yml"]) == {
        "groups": []
    }


def test_passwords_of_remote_stores_are_nowhere_but_in_their_secret() -> None:
    stores = [
        {"url": "https://one.example.org/push", "username": "us", "password": "hush-1"},
        {"url": "https://two.example.org/push", "token": "hush-2", "settings": {"headers": {"X-Scope-OrgID": "us"}}},
        {"url": "http://three.example.org/push"},
    ]
    objects = render(monitoring_remote_write=stores)
    secret = objects.pop(("Secret", "prometheus-remote-write"))["data"]
    file = {base64.b64decode(text).decode(): f"/etc/prometheus-secrets/{name}" for name, text in secret.items()}
    assert file.keys() == {"hush-1", "hush-2"}
    assert prometheus_config(objects)["remote_write"] == [
        {
            "url": "https://one.example.org/push",
            "basic_auth": {"username": "us", "password_file": file["hush-1"]},
        },
        {
            "url": "https://two.example.org/push",
            "headers": {"X-Scope-OrgID": "us"},
            "authorization": {"credentials_file": file["hush-2"]},
        },
        {"url": "http://three.example.org/push"},
    ]
    assert "hush" not in str(objects)
    (mount,) = [
        mount["mountPath"]
        for mount in objects["StatefulSet", "prometheus"]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        if mount["name"] == "secrets"
    ]
    assert mount == "/etc/prometheus-secrets"


def test_versions_of_a_slot_have_series_of_their_own(objects: Objects) -> None:
    pods_job = next(job for job in prometheus_config(objects)["scrape_configs"] if job["job_name"] == "pods")
    (rule,) = [rule for rule in pods_job["relabel_configs"] if rule.get("target_label") == "version"]
    assert rule["regex"] == ".+;(.+)", "only of pods that have a slot"


def test_how_containers_end_is_read_once_and_often(objects: Objects) -> None:
    jobs = {job["job_name"]: job for job in prometheus_config(objects)["scrape_configs"]}
    slow, often = jobs["kube-state-metrics"], jobs["kube-state-metrics-ends"]
    (dropped,), (kept,) = slow["metric_relabel_configs"], often["metric_relabel_configs"]
    assert dropped == {**kept, "action": "drop"} and kept["action"] == "keep"
    assert often["scrape_interval"] == often["scrape_timeout"] == "5s" and "scrape_interval" not in slow
    read = "kube_pod_container_status_last_terminated_reason", "kube_pod_init_container_status_restarts_total"
    assert all(re.fullmatch(kept["regex"], name) for name in read)
    assert not re.fullmatch(kept["regex"], "kube_pod_container_status_ready")


@pytest.mark.parametrize(
    "name, kept",
    [
        ("apiserver_request_duration_seconds_bucket", False),
        ("apiserver_cel_compilation_duration_seconds_bucket", False),
        ("apiserver_client_certificate_expiration_seconds_bucket", True),
        ("apiserver_request_duration_seconds_count", True),
        ("etcd_disk_wal_fsync_duration_seconds_bucket", True),
        ("etcd_request_duration_seconds_bucket", False),
        ("http_request_duration_seconds_bucket", True),
        ("envoy_cluster_upstream_rq_time_bucket", False),
        ("envoy_http_downstream_rq_time_bucket", True),
    ],
)
def test_what_nobody_reads_is_not_kept(objects: Objects, name: str, kept: bool) -> None:
    job = next(job for job in prometheus_config(objects)["scrape_configs"] if job["job_name"] == "kube-apiserver")
    (rule,) = job["metric_relabel_configs"]
    assert rule["action"] == "drop" and bool(re.fullmatch(rule["regex"], name)) is not kept


def test_the_log_in_of_a_webhook_stands_in_a_file_of_the_secret_and_nowhere_else() -> None:
    url = "https://pager.example.org/secret-path"
    objects = render(monitoring_webhooks={"sre": {"url": url, "token": "secret-token"}})
    receivers = {found["name"]: found for found in alertmanager_config(objects)["receivers"]}
    (hook,) = receivers["sre"]["webhook_configs"]
    assert hook["url"] == url and "webhook_configs" not in receivers["api"]
    secret = objects.pop(("Secret", "alertmanager"))["data"]
    file = Path(hook["http_config"]["authorization"]["credentials_file"])
    (container,) = objects["StatefulSet", "alertmanager"]["spec"]["template"]["spec"]["containers"]
    assert str(file.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert base64.b64decode(secret[file.name]) == b"secret-token"
    assert b"secret-token" not in base64.b64decode(secret["alertmanager.yml"])
    assert "secret-" not in str(objects)


def test_the_dead_man_is_heard_each_time_that_his_group_is_looked_at() -> None:
    """Alertmanager counts the repeat interval from the end of the last notification: after the time of its group."""
    route = alertmanager_config(render(monitoring_deadman_interval="20s"))["route"]["routes"][0]
    assert (route["receiver"], route["group_interval"]) == ("deadman", "20s")
    assert route["repeat_interval"] == "1s"


def test_a_changed_receiver_is_a_new_pod_and_a_changed_rule_is_not(objects: Objects) -> None:
    changed = render(
        monitoring_webhooks={"deadman": {"url": "https://deadman.example.org", "token": "one"}},
        monitoring_extra_rule_groups=[{"name": "more", "rules": [{"record": "one", "expr": "vector(1)"}]}],
    )
    assert changed["StatefulSet", "alertmanager"] != objects["StatefulSet", "alertmanager"]
    other = render(monitoring_webhooks={"deadman": {"url": "https://deadman.example.org", "token": "two"}})
    assert other["StatefulSet", "alertmanager"] != changed["StatefulSet", "alertmanager"], (
        "a token is read at the start"
    )
    assert changed["ConfigMap", "prometheus"] != objects["ConfigMap", "prometheus"]
    assert changed["StatefulSet", "prometheus"] == objects["StatefulSet", "prometheus"]


def test_every_route_leads_to_a_receiver(objects: Objects) -> None:
    config = alertmanager_config(objects)
    named = {config["route"]["receiver"], *(route["receiver"] for route in config["route"]["routes"])}
    assert named == {receiver["name"] for receiver in config["receivers"]}


def test_a_storage_class_makes_the_data_outlive_the_pod() -> None:
    objects = render(monitoring_storage_class="fast")
    for name in ("prometheus", "alertmanager"):
        spec = objects["StatefulSet", name]["spec"]
        (claim,) = spec["volumeClaimTemplates"]
        assert claim["spec"]["storageClassName"] == "fast"
        assert not [volume for volume in spec["template"]["spec"]["volumes"] if "emptyDir" in volume]


def test_other_namespaces_are_admitted_by_name_only(objects: Objects) -> None:
    def admitted(found: Objects) -> str:
        return str(found["NetworkPolicy", "monitoring"]["spec"]["ingress"])

    assert "['autoscaling', 'logging']" in admitted(objects), "KEDA asks Prometheus, Loki tells Alertmanager"
    assert "10.244.0.0/16" in admitted(objects)
    assert "namespaceSelector" not in admitted(render(monitoring_client_namespaces=[]))
    assert "['gates']" in admitted(render(monitoring_client_namespaces=["gates"]))


def size(text: str) -> float:
    """Bytes of a size such as 8GB or 10Gi."""
    return float(text[:-2]) * {"GB": 1e9, "Gi": 2**30}[text[-2:]]


@pytest.mark.parametrize("environment, kept", [("local", "2d"), ("dev", "7d"), ("staging", "15d"), ("prod", "45d")])
def test_an_environment_keeps_what_it_has_room_for(environment: str, kept: str) -> None:
    path = CHECKOUT / f"inventories/{environment}/group_vars/all/10_{environment}.yml"
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings = {name: value for name, value in own.items() if name.startswith("monitoring_")}
    pod = render(**settings)["StatefulSet", "prometheus"]["spec"]["template"]["spec"]
    args = dict(arg.removeprefix("--").split("=", 1) for arg in pod["containers"][0]["args"] if "=" in arg)
    assert args["storage.tsdb.retention.time"] == kept
    (volume,) = (volume for volume in pod["volumes"] if "emptyDir" in volume)
    room = size(volume["emptyDir"]["sizeLimit"])
    # The log of the last hours and what is being compacted come on top.
    assert size(args["storage.tsdb.retention.size"]) <= 0.85 * room
