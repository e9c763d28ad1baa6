# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics are there for every node and pod, and an autoscaler acts on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Site

METRICS = "metrics.k8s.io/v1beta1"


def test_every_node_has_metrics(site: Site) -> None:
    measured = {entry["metadata"]["name"]: entry["usage"] for entry in site.cluster.list(METRICS, "NodeMetrics")}
    assert set(measured) == {node["metadata"]["name"] for node in site.cluster.list("v1", "Node")}
    assert all(usage["cpu"] != "0" and usage["memory"] != "0" for usage in measured.values())


def test_pods_have_metrics(site: Site) -> None:
    pods = site.cluster.list(METRICS, "PodMetrics", "kube-system", {"k8s-app": "metrics-server"})
    assert [container["name"] for pod in pods for container in pod["containers"]] == ["metrics-server"]


def test_an_autoscaler_scales_a_busy_deployment(site: Site) -> None:
    """A pod that uses far more than it asked for gets a companion."""
    namespace = site.namespace()
    where = {"name": site.name, "namespace": namespace}
    request = {"resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "100m"}}}
    template = site.pod("docker.io/library/python:3.11-slim-bookworm", ["python3", "-c", "while True: pass"], **request)
    site.have(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": where,
            "spec": {"selector": {"matchLabels": site.labels}, "template": template},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": where,
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": site.name},
                "minReplicas": 1,
                "maxReplicas": 2,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                    }
                ],
            },
        },
    )

    def replicas() -> Any:
        found = site.cluster.get("apps/v1", "Deployment", site.name, namespace)
        return found and found["status"].get("readyReplicas", 0) == 2

    site.eventually(replicas, seconds=120)
