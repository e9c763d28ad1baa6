# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks of a cluster, rendered by Ansible itself from the role's own defaults."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).parents[3] / "roles/monitoring"
PLATFORM = {
    "platform_kubeconfig": "/state/kubeconfig",
    "platform_pod_cidr": "10.244.0.0/16",
    "platform_name": "test",
    "platform_environment": "local",
    "platform_cache_dir": "/cache",
}

Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    """Lookups and filters are found as in a run."""
    init_plugin_loader()


def render(**settings: Any) -> Objects:
    """The role's objects by (kind, name), with these settings over its defaults."""
    loader = DataLoader()
    variables: dict[str, Any] = {**PLATFORM, "ansible_search_path": [str(ROLE)]}
    for name in ("defaults/main.yml", "vars/main.yml"):
        variables |= loader.load_from_file(str(ROLE / name), trusted_as_template=True)
    objects = Templar(loader, variables | settings).template(trust_as_template("{{ __monitoring_objects }}"))
    return {(found["kind"], found["metadata"]["name"]): found for found in objects}


def prometheus_config(objects: Objects) -> dict[str, Any]:
    return yaml.safe_load(objects["ConfigMap", "prometheus"]["data"]["prometheus.yml"])


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
        assert not {"*", "secrets", "configmaps", "nodes/proxy"} & set(rule.get("resources", []))


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
        "kube-controller-manager",
        "kube-scheduler",
        "etcd",
        "kube-proxy",
        "coredns",
        "metrics-server",
        "kube-state-metrics",
        "pods",
    }
    annotated = [
        found["metadata"]["name"]
        for found in objects.values()
        if "prometheus.io/scrape"
        in found.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    ]
    assert sorted(annotated) == ["alertmanager", "node-exporter", "prometheus"]


def test_the_token_is_sent_to_components_only(objects: Objects) -> None:
    """Anybody may annotate a pod: whoever does must not be handed Prometheus' token."""
    trusted = {job["job_name"] for job in prometheus_config(objects)["scrape_configs"] if "authorization" in job}
    assert trusted == {
        "kube-apiserver",
        "kubelet",
        "cadvisor",
        "kube-controller-manager",
        "kube-scheduler",
        "metrics-server",
    }


def test_a_pod_of_unknown_name_keeps_the_job_label(objects: Objects) -> None:
    """An empty source with the default expression would take the label away."""
    pods_job = next(job for job in prometheus_config(objects)["scrape_configs"] if job["job_name"] == "pods")
    rules = [rule for rule in pods_job["relabel_configs"] if rule.get("target_label") == "job"]
    assert rules and all(rule["regex"] == "(.+)" for rule in rules)


def test_documentation_url_is_put_before_every_page() -> None:
    objects = render(monitoring_docs_url="https://docs.example.org/")
    rules = yaml.safe_load(objects["ConfigMap", "prometheus"]["data"]["rules.yml"])
    urls = [
        rule["annotations"]["runbook_url"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    ]
    assert urls and all(url.startswith("https://docs.example.org/runbooks/") for url in urls)


def test_an_alert_goes_to_the_webhook_of_its_severity() -> None:
    url = "https://pager.example.org/secret-token"
    objects = render(monitoring_webhooks={"critical": url})
    receivers = {found["name"]: found for found in alertmanager_config(objects)["receivers"]}
    assert receivers["severity-critical"]["webhook_configs"] == [{"url": url, "send_resolved": True}]
    assert "webhook_configs" not in receivers["severity-warning"]
    del objects["Secret", "alertmanager"]
    assert "secret-token" not in str(objects)


def test_a_changed_receiver_is_a_new_pod_and_a_changed_rule_is_not(objects: Objects) -> None:
    changed = render(
        monitoring_webhooks={"none": "https://deadman.example.org"},
        monitoring_extra_rule_groups=[{"name": "more", "rules": [{"record": "one", "expr": "vector(1)"}]}],
    )
    assert changed["StatefulSet", "alertmanager"] != objects["StatefulSet", "alertmanager"]
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

    assert "['autoscaling']" in admitted(objects), "KEDA asks Prometheus"
    assert "10.244.0.0/16" in admitted(objects)
    assert "namespaceSelector" not in admitted(render(monitoring_client_namespaces=[]))
    assert "['gates']" in admitted(render(monitoring_client_namespaces=["gates"]))
