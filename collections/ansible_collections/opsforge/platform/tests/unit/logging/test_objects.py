# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks of a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.tests.unit.roles import ROLES, Objects, by_name, evaluate

WORKLOADS = [("StatefulSet", "loki"), ("Deployment", "jaeger"), ("DaemonSet", "collector")]


def render(**settings: Any) -> Objects:
    """The role's objects by (kind, name), with these settings over its defaults."""
    return by_name(evaluate("logging", "{{ __logging_objects }}", groups={"nodes": ["node1"]}, **settings))


@pytest.fixture(scope="module")
def objects() -> Objects:
    return render()


def config(objects: Objects, name: str) -> dict[str, Any]:
    """The configuration of `loki` or `collector`."""
    return yaml.safe_load(objects["ConfigMap", name]["data"][f"{name}.yml"])


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    """(namespace, pod template) of every workload."""
    for key in WORKLOADS:
        yield objects[key]["metadata"]["namespace"], objects[key]["spec"]["template"]


def test_every_container_is_held_to_restricted_and_to_a_memory_limit(objects: Objects) -> None:
    for _, pod in pods(objects):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_only_the_collector_sees_its_node_and_only_its_logs(objects: Objects) -> None:
    assert objects["Namespace", "logging"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for namespace, pod in pods(objects):
        paths = {volume["hostPath"]["path"] for volume in pod["spec"]["volumes"] if "hostPath" in volume}
        assert paths == ({"/var/log/pods", "/var/lib/opsforge/collector"} if namespace == "kube-system" else set())
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])
    (container,) = objects["DaemonSet", "collector"]["spec"]["template"]["spec"]["containers"]
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/var/lib/opsforge/collector"}


def test_the_collector_is_not_root_but_of_its_group_which_may_read_log_files(objects: Objects) -> None:
    security = objects["DaemonSet", "collector"]["spec"]["template"]["spec"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (10001, 0)
    assert "fsGroup" not in security, "the node's folders would change hands"


def test_nobody_may_ask_the_api_for_anything(objects: Objects) -> None:
    assert not {kind for kind, _ in objects if "Role" in kind}
    for _, pod in pods(objects):
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_everything_is_scraped_at_a_port_that_it_has(objects: Objects) -> None:
    for _, pod in pods(objects):
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        ports = [port["containerPort"] for container in pod["spec"]["containers"] for port in container["ports"]]
        assert int(annotations["prometheus.io/port"]) in ports


def test_the_collector_runs_everywhere_and_takes_traces_of_its_own_node(objects: Objects) -> None:
    assert objects["DaemonSet", "collector"]["spec"]["template"]["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert objects["Service", "collector"]["spec"]["internalTrafficPolicy"] == "Local"


def test_every_part_that_is_configured_is_in_the_distribution_and_no_other(objects: Objects) -> None:
    main = (ROLES / "mirror/files/go/collector/main.go").read_text(encoding="utf-8")
    made = set(re.findall(r"(\w+)\.NewFactory\(\)", main)) - {"fileprovider", "envprovider", "otelconftelemetry"}
    used = {
        part.partition("/")[0].replace("_", "") + ("" if part == "file_storage" else kind.removesuffix("s"))
        for kind in ("receivers", "processors", "exporters", "extensions")
        for part in config(objects, "collector")[kind]
    }
    assert used == made


def test_a_label_of_the_collector_is_one_of_loki_and_there_are_no_others(objects: Objects) -> None:
    operators = config(objects, "collector")["receivers"]["file_log"]["operators"]
    (kept,) = [operator["fields"] for operator in operators if operator["type"] == "retain"]
    labels = {field.removeprefix("resource.") for field in kept if field.startswith("resource.")}
    limits = config(objects, "loki")["limits_config"]
    attributes = limits["otlp_config"]["resource_attributes"]
    assert attributes["ignore_defaults"] is True
    assert attributes["attributes_config"] == [{"action": "index_label", "attributes": [*attributes_of(attributes)]}]
    assert set(attributes_of(attributes)) == labels == {"job", "namespace", "service", "slot", "level", "node"}
    assert limits["max_label_names_per_series"] == len(labels)


def test_no_container_elsewhere_can_have_the_job_of_a_service(objects: Objects) -> None:
    operators = config(objects, "collector")["receivers"]["file_log"]["operators"]
    (job,) = [operator["value"] for operator in operators if operator.get("field") == "resource.job"]
    here, elsewhere = job.removeprefix("EXPR(").removesuffix(")").split(" ? ")[1].split(" : ")
    assert here == 'resource.service + "-service"'
    assert elsewhere == 'resource.namespace + "/" + resource.service', "no name in Kubernetes has a slash"


def attributes_of(attributes: dict[str, Any]) -> list[str]:
    """The resource attributes that become labels."""
    (index,) = attributes["attributes_config"]
    return list(index["attributes"])


def test_what_was_read_is_remembered_on_the_node(objects: Objects) -> None:
    parts = config(objects, "collector")
    assert parts["extensions"]["file_storage"]["directory"] == "/var/lib/opsforge/collector"
    assert parts["receivers"]["file_log"]["storage"] == "file_storage"
    for exporter in parts["exporters"].values():
        assert exporter["sending_queue"]["storage"] == "file_storage"
    assert parts["exporters"]["otlp_http/loki"]["sending_queue"]["block_on_overflow"] is True
    assert parts["exporters"]["otlp_http/jaeger"]["sending_queue"]["block_on_overflow"] is False


def test_what_waits_is_counted_in_bytes_and_gives_its_disk_back(objects: Objects) -> None:
    parts = config(objects, "collector")
    queues = {name: exporter["sending_queue"] for name, exporter in parts["exporters"].items()}
    assert {queue["sizer"] for queue in queues.values()} == {"bytes"}
    assert queues["otlp_http/loki"]["queue_size"] == 200_000_000
    assert queues["otlp_http/jaeger"]["queue_size"] == 50_000_000
    storage = parts["extensions"]["file_storage"]
    assert storage["compaction"]["on_rebound"] is True
    assert storage["compaction"]["directory"] == storage["directory"], "nothing else may be written to"
    assert parts["receivers"]["otlp"]["protocols"]["http"]["max_request_body_size"] <= 4 << 20


def test_lines_wait_for_hours_and_traces_for_minutes(objects: Objects) -> None:
    parts = config(objects, "collector")
    waits = {name: exporter["retry_on_failure"]["max_elapsed_time"] for name, exporter in parts["exporters"].items()}
    assert waits == {"otlp_http/loki": "6h", "otlp_http/jaeger": "10m"}
    assert parts["receivers"]["file_log"]["retry_on_failure"] == {"enabled": True, "max_elapsed_time": 0}


@pytest.mark.parametrize("ingestion, stream", [(1, 1), (4, 1), (20, 5)])
def test_loki_takes_any_batch_once_it_has_waited(ingestion: int, stream: int) -> None:
    found = render(logging_ingestion_mb_per_second=ingestion, logging_stream_mb_per_second=stream)
    batch = config(found, "collector")["exporters"]["otlp_http/loki"]["sending_queue"]["batch"]
    limits = config(found, "loki")["limits_config"]
    burst = int(limits["per_stream_rate_limit_burst"].removesuffix("MB"))
    assert batch["sizer"] == "bytes" and batch["max_size"] < min(burst, limits["ingestion_burst_size_mb"]) << 20
    assert batch["max_size"] > 2 << 20, "a line has 1 MiB at the most, and its ids beside it; larger is dropped"
    assert (limits["ingestion_rate_mb"], limits["per_stream_rate_limit"]) == (ingestion, f"{stream}MB")


def test_one_program_has_the_limit_of_one_however_loud_it_is(objects: Objects) -> None:
    limits = config(objects, "loki")["limits_config"]
    assert limits["per_stream_rate_limit"] == "1MB" and limits["ingestion_rate_mb"] == 4
    assert limits["shard_streams"] == {"enabled": True, "desired_rate": "1GB"}, "taken all or none, and never in parts"


def test_lines_older_than_the_retention_are_deleted_and_refused() -> None:
    loki = config(render(logging_retention_hours=336), "loki")
    assert loki["limits_config"]["retention_period"] == "336h"
    assert loki["limits_config"]["reject_old_samples_max_age"] == "336h"
    assert loki["compactor"]["retention_enabled"] is True
    assert loki["limits_config"]["deletion_mode"] == "disabled", "only age deletes"


def test_a_changed_configuration_is_a_new_pod_and_a_changed_rule_is_not(objects: Objects) -> None:
    changed = render(
        logging_extra_rule_groups=[{"name": "more", "rules": [{"record": "one", "expr": "vector(1)"}]}],
        logging_service_namespace="shop",
    )
    assert "rules-extra.yml" in changed["ConfigMap", "loki-rules"]["data"]
    assert changed["StatefulSet", "loki"] == objects["StatefulSet", "loki"]
    assert changed["DaemonSet", "collector"] != objects["DaemonSet", "collector"]
    assert render(logging_streams_max=9)["StatefulSet", "loki"] != objects["StatefulSet", "loki"]


def test_a_storage_class_makes_the_lines_outlive_the_pod() -> None:
    spec = render(logging_storage_class="fast")["StatefulSet", "loki"]["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data" and claim["spec"]["storageClassName"] == "fast"
    assert [volume["name"] for volume in spec["template"]["spec"]["volumes"]] == ["config", "rules", "tmp"]


def test_other_namespaces_are_admitted_by_name_only(objects: Objects) -> None:
    rules = str(objects["NetworkPolicy", "logging"]["spec"]["ingress"])
    assert "['monitoring']" in rules and "10.244.0.0/16" in rules and "'collector'" in rules
    closed = render(logging_client_namespaces=[])
    assert "matchExpressions" not in str(closed["NetworkPolicy", "logging"])
    assert "8888" not in str(closed["NetworkPolicy", "collector"])


def test_services_reach_the_collector_where_they_send_traces(objects: Objects) -> None:
    services, nodes, _ = objects["NetworkPolicy", "collector"]["spec"]["ingress"]
    (source,) = services["from"]
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "apps"}
    assert {port["port"] for port in services["ports"]} == {4317, 4318}
    assert "ports" not in nodes, "the kubelet probes, and the API server's proxy is a node too"
