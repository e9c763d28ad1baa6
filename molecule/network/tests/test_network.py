# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods reach pods on other nodes by the cluster's names, unless a policy says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Site

IMAGE = "docker.io/library/python:3.11-slim-bookworm"
# Tries until it sees what is expected: a new pod's rules need a moment, in either direction.
PROBE = """
import socket, sys, time
host, expected = sys.argv[1:]
for attempt in range(60):
    try:
        socket.create_connection((host, 8080), timeout=1).close()
        seen = "reached"
    except OSError:
        seen = "denied"
    if seen == expected:
        break
    time.sleep(0.5)
print(seen)
"""


def nodes(site: Site) -> list[str]:
    """Names of the nodes that take pods."""
    found = site.cluster.list("v1", "Node")
    return [node["metadata"]["name"] for node in found if not node["spec"].get("taints")]


class Talk:
    """A listening pod on one node, and probes from another."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.namespace = site.namespace()
        self.here, self.there = nodes(site)[:2]
        template = site.pod(IMAGE, ["python3", "-m", "http.server", "--directory", "/tmp", "8080"])
        template["spec"]["nodeSelector"] = {"kubernetes.io/hostname": self.here}
        where = {"name": "server", "namespace": self.namespace}
        spec = {"selector": {"matchLabels": site.labels}, "template": template}
        site.have(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": where, "spec": spec},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": where,
                "spec": {"selector": site.labels, "ports": [{"port": 8080}]},
            },
        )

    def probe(self, expected: str, role: str, host: str | None = None) -> str:
        """What a pod with that role, on the other node, meets in the end when it calls the server."""
        host = host or f"server.{self.namespace}.svc.cluster.local"
        template = self.site.pod(IMAGE, ["python3", "-c", PROBE, host, expected])
        template["metadata"]["labels"] = {"role": role}
        template["spec"] |= {"restartPolicy": "Never", "nodeSelector": {"kubernetes.io/hostname": self.there}}
        name = f"probe-{len(self.site.made)}"
        self.site.have(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"backoffLimit": 0, "template": template},
            }
        )
        (pod,) = self.site.cluster.list("v1", "Pod", self.namespace, {"job-name": name})
        assert pod["spec"]["nodeName"] == self.there
        return self.site.cluster.logs(self.namespace, pod["metadata"]["name"], tail=10).strip()

    def allow_only(self, role: str) -> None:
        """Close the server to everyone but pods of that role."""
        self.site.have(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "server", "namespace": self.namespace},
                "spec": {
                    "podSelector": {"matchLabels": self.site.labels},
                    "policyTypes": ["Ingress"],
                    "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": role}}}]}],
                },
            }
        )


@pytest.fixture
def talk(site: Site) -> Talk:
    return Talk(site)


def test_every_node_is_ready(site: Site) -> None:
    for node in site.cluster.list("v1", "Node"):
        conditions: dict[str, Any] = {entry["type"]: entry["status"] for entry in node["status"]["conditions"]}
        assert conditions["Ready"] == "True", node["metadata"]["name"]


def test_names_are_still_found_when_a_node_is_gone(site: Site) -> None:
    pods = site.cluster.list("v1", "Pod", "kube-system", {"k8s-app": "kube-dns"})
    assert len({pod["spec"]["nodeName"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}) >= 2
    # Not by luck: a pod that cannot be on a node of its own waits for one.
    for pod in pods:
        (rule,) = pod["spec"]["topologySpreadConstraints"]
        assert (rule["topologyKey"], rule["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")


def test_policy_lets_through_whom_it_names_and_nobody_else(talk: Talk) -> None:
    """Both reach the server by name across nodes; once a policy names one of them, only that one does."""
    assert talk.probe("reached", role="friend") == "reached"
    assert talk.probe("reached", role="stranger") == "reached"
    talk.allow_only("friend")
    assert talk.probe("denied", role="stranger") == "denied"
    assert talk.probe("reached", role="friend") == "reached"
    assert talk.probe("denied", role="stranger") == "denied"
