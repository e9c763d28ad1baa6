# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole site: a person signs up through the entrance, and every part of the platform is well."""

from __future__ import annotations

import json
import secrets
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Site

HTTPS_NODE_PORT = 30443
MEMORY_BYTES_MAX = 4 * 1024**3


def ask(site: Site, method: str, path: str, body: Any = None, token: str = "") -> Any:
    """One request over TLS, trusting the platform's CA and nothing else."""
    trust = ssl.create_default_context(cafile=str(site.state_dir / "ca.crt"))
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(
        f"https://{site.published(HTTPS_NODE_PORT)}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers=headers,
        method=method,
    )
    with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
        return json.load(answer)


def test_a_person_signs_up_logs_in_and_is_known(site: Site) -> None:
    person = {"email": f"{secrets.token_hex(8)}@example.org", "password": secrets.token_urlsafe(24)}
    ask(site, "POST", "/auth/signup", person)
    token = ask(site, "POST", "/auth/login", person)["access_token"]
    known = ask(site, "GET", "/auth/me", token=token)
    assert known["email"] == person["email"]
    assert ask(site, "POST", "/auth/validate", {"token": token})["sub"] == known["id"]


def test_a_stranger_is_not(site: Site) -> None:
    stranger = {"email": f"{secrets.token_hex(8)}@example.org", "password": secrets.token_urlsafe(24)}
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(site, "POST", "/auth/login", stranger)
    assert refused.value.code == 401


def test_every_pod_is_well(site: Site) -> None:
    pods = site.cluster.list("v1", "Pod")
    sick = [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in pods
        if pod["status"]["phase"] != "Succeeded"
        and not pod["metadata"].get("deletionTimestamp")
        and not any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]
    assert sick == []


def test_no_pod_runs_as_root_where_it_need_not(site: Site) -> None:
    """Only what sets up a node's network or stands for its control plane may be root."""
    allowed = {"kube-system"}
    loose = {
        namespace["metadata"]["name"]
        for namespace in site.cluster.list("v1", "Namespace")
        if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted"
    }
    running = {pod["metadata"]["namespace"] for pod in site.cluster.list("v1", "Pod")}
    assert (running & loose) - allowed == set()


def test_it_fits(site: Site) -> None:
    """What the pods use, as the nodes' kubelets count it."""
    usage = site.cluster.list("metrics.k8s.io/v1beta1", "NodeMetrics")
    used = sum(int(node["usage"]["memory"].removesuffix("Ki")) * 1024 for node in usage)
    assert 0 < used < MEMORY_BYTES_MAX
