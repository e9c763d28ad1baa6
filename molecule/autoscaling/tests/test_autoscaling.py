# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics are there for every node and pod, and autoscalers act on them - and on nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

if TYPE_CHECKING:
    from conftest import Site

Object = dict[str, Any]

METRICS = "metrics.k8s.io/v1beta1"
HPA = ("autoscaling/v2", "HorizontalPodAutoscaler")
SCALED_OBJECT = ("keda.sh/v1alpha1", "ScaledObject")
IMAGE = "docker.io/library/python:3.11-slim-bookworm"
APPS = "apps"  # the namespace whose ScaledObjects KEDA obeys

# Works for a tenth of the time: 100 millicores, whatever it asked for.
TENTH = """
import time
while True:
    end = time.process_time() + 0.01
    while time.process_time() < end:
        pass
    time.sleep(0.09)
"""

# A pod that tells Prometheus what a test tells it: PUT /<requests a second>/<age of the oldest job> on one pod.
TOLD = """
import http.server, time
told = {"since": time.monotonic(), "rate": 0.0, "age": 0.0}
class Answer(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        _, rate, age = self.path.split("/")
        told.update(since=time.monotonic(), rate=float(rate), age=float(age))
        self.send_response(204)
        self.end_headers()
    def do_GET(self):
        count = told["rate"] * (time.monotonic() - told["since"])
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"http_requests_total %f\\nqueue_oldest_age_seconds %f\\n" % (count, told["age"]))
http.server.ThreadingHTTPServer(("", 9000), Answer).serve_forever()
"""
LITTLE = {"resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}}


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    """Lookups and filters are found as in a run."""
    init_plugin_loader()


def deployment(site: Site, name: str, template: Object, namespace: str, replicas: int = 1) -> Object:
    spec = {"replicas": replicas, "selector": {"matchLabels": template["metadata"]["labels"]}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def told(site: Site, slot: str = "blue", replicas: int = 1) -> Object:
    """A slot of a service that reports what it is told."""
    template = site.pod(IMAGE, ["python3", "-c", TOLD], **LITTLE)
    template["metadata"]["labels"] = {**site.labels, "opsforge.dev/slot": slot}
    template["metadata"]["annotations"] = {"prometheus.io/scrape": "true", "prometheus.io/port": "9000"}
    return deployment(site, f"{site.name}-{slot}", template, APPS, replicas)


def scaler(site: Site, **entry: Any) -> Object:
    """What the role `service` makes of such an entry in the inventory: the template that ships."""
    role = Path(__file__).parents[3] / "collections/ansible_collections/opsforge/platform/roles/service"
    loader = DataLoader()
    variables: Object = {"ansible_search_path": [str(role)], "ansible_check_mode": False, "platform_namespace": APPS}
    for name in ("defaults/main.yml", "vars/main.yml"):
        variables |= loader.load_from_file(str(role / name), trusted_as_template=True)
    variables |= {
        "service_name": site.name,
        "platform_services": {site.name: entry},
        "__service_state": {"autoscaler": None, "autoscaler_follows": None, "target": "blue"},
    }
    ask = trust_as_template("{{ lookup('ansible.builtin.template', 'autoscaler.yml.j2') }}")
    (found,) = yaml.safe_load_all(Templar(loader, variables).template(ask))
    found["metadata"]["namespace"] = APPS
    return found


def autoscaler(site: Site, name: str = "", namespace: str = APPS) -> Object:
    return site.cluster.get(*HPA, name or site.name, namespace) or {"spec": {}, "status": {}}


def size(site: Site, name: str, namespace: str = APPS) -> int:
    found = site.cluster.get("apps/v1", "Deployment", name, namespace)
    return int(found["spec"]["replicas"]) if found else 0


def condition(found: Object, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    known = {entry["type"]: (entry["status"], entry["reason"]) for entry in found["status"].get("conditions") or []}
    return known.get(kind, ("", ""))


def usage_percent(found: Object) -> int | None:
    """CPU as the autoscaler sees it: a share of what the pods asked for."""
    for metric in found["status"].get("currentMetrics") or []:
        if metric["type"] == "Resource":
            return metric["resource"]["current"].get("averageUtilization")
    return None


def test_every_node_has_metrics(site: Site) -> None:
    measured = {entry["metadata"]["name"]: entry["usage"] for entry in site.cluster.list(METRICS, "NodeMetrics")}
    assert set(measured) == {node["metadata"]["name"] for node in site.cluster.list("v1", "Node")}
    assert all(usage["cpu"] != "0" and usage["memory"] != "0" for usage in measured.values())


def test_pods_have_metrics(site: Site) -> None:
    pods = site.cluster.list(METRICS, "PodMetrics", "kube-system", {"k8s-app": "metrics-server"})
    assert [container["name"] for pod in pods for container in pod["containers"]] == ["metrics-server"]


def test_one_load_scales_the_pod_that_asked_for_little_and_rightly_not_the_one_that_asked_for_enough(
    site: Site,
) -> None:
    """Both pods use 100 millicores, with the same limit. Only the request decides (docs/scaling.md explains it)."""
    namespace = site.namespace()
    for name, request in (("little", "50m"), ("enough", "200m")):
        resources = {"requests": {"cpu": request}, "limits": {"cpu": "1"}}
        template = site.pod(IMAGE, ["python3", "-c", TENTH], resources=resources)
        template["metadata"]["labels"] = {"app.kubernetes.io/name": name}
        target = {"type": "Utilization", "averageUtilization": 70}
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        }
        wanted = {
            "apiVersion": HPA[0],
            "kind": HPA[1],
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        site.have(deployment(site, name, template, namespace), wanted)

    site.eventually(lambda: size(site, "little", namespace) == 2, seconds=120)
    site.eventually(lambda: usage_percent(autoscaler(site, "enough", namespace)))
    found = autoscaler(site, "enough", namespace)
    assert 10 <= (usage_percent(found) or 0) <= 70, "half of what it asked for, less on a busy machine"
    assert (found["status"]["currentReplicas"], found["status"]["desiredReplicas"]) == (1, 1)
    assert condition(found, "ScalingActive") == ("True", "ValidMetricFound"), "it can, and does not want to"
    assert condition(found, "AbleToScale") == ("True", "ReadyForNewScale")
    assert size(site, "enough", namespace) == 1


def test_custom_metrics_are_served(site: Site) -> None:
    (served,) = site.cluster.list(
        "apiregistration.k8s.io/v1", "APIService", fields={"metadata.name": "v1beta1.external.metrics.k8s.io"}
    )
    assert served["spec"].get("insecureSkipTLSVerify") is None
    assert served["spec"]["caBundle"], "the API server checks whom it asks"


@pytest.mark.parametrize(
    "entry, saying, pods",
    [
        pytest.param({"requests_per_second": 20}, "50/0", 3, id="50 requests a second of 20 for each pod"),
        pytest.param({"queue_age_seconds": 5, "scale_down_seconds": 1}, "0/15", 3, id="a queue three times too old"),
    ],
)
def test_a_service_grows_by_what_it_is_asked_for_while_its_processor_idles(
    site: Site, entry: Object, saying: str, pods: int
) -> None:
    site.open_network(APPS)
    site.have(told(site), scaler(site, replicas_min=1, replicas_max=pods, **entry))
    (pod,) = site.cluster.list("v1", "Pod", APPS, site.labels)
    assert site.cluster.proxy(APPS, pod["metadata"]["name"], 9000, "PUT", f"/{saying}") == 204

    site.eventually(lambda: size(site, f"{site.name}-blue") == pods, seconds=150)
    assert (usage_percent(autoscaler(site)) or 0) < 70, "not for the processor's sake"
    if "scale_down_seconds" in entry:
        assert site.cluster.proxy(APPS, pod["metadata"]["name"], 9000, "PUT", "/0/0") == 204
        site.eventually(lambda: size(site, f"{site.name}-blue") < pods, seconds=150)


def test_a_size_is_kept_while_prometheus_knows_nothing(site: Site) -> None:
    """The processor idles and one pod would do, but nobody knows how many requests there are: that is not zero."""
    mute = told(site, replicas=2)
    del mute["spec"]["template"]["metadata"]["annotations"]
    site.have(mute, scaler(site, replicas_min=1, requests_per_second=20, scale_down_seconds=1))
    site.eventually(lambda: condition(autoscaler(site), "ScalingActive") == ("False", "FailedGetExternalMetric"))
    assert size(site, f"{site.name}-blue") == 2


def test_a_plain_autoscaler_is_taken_over_without_a_gap_and_goes_where_the_traffic_goes(site: Site) -> None:
    site.have(told(site, "blue"), told(site, "green"), scaler(site, replicas_min=1))
    plain = autoscaler(site)
    site.have(scaler(site, replicas_min=1, requests_per_second=20))
    site.eventually(lambda: len(autoscaler(site)["spec"]["metrics"]) == 2, seconds=20)
    taken = autoscaler(site)
    assert taken["metadata"]["uid"] == plain["metadata"]["uid"], "the same object, with its size"
    assert [owner["kind"] for owner in taken["metadata"]["ownerReferences"]] == ["ScaledObject"]

    body = {"spec": {"scaleTargetRef": {"name": f"{site.name}-green"}}}
    site.cluster.patch(*SCALED_OBJECT, site.name, APPS, body)
    site.eventually(lambda: autoscaler(site)["spec"]["scaleTargetRef"]["name"] == f"{site.name}-green", seconds=20)
    assert (size(site, f"{site.name}-blue"), size(site, f"{site.name}-green")) == (1, 1)
