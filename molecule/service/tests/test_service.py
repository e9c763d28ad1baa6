# SPDX-License-Identifier: GPL-3.0-or-later
"""A service answers through the entrance, is held to what it may do, and moves without losing a request."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Forbidden, Invalid
from benchmarks._load import Load, Request

if TYPE_CHECKING:
    from conftest import Site

CHECKOUT = Path(__file__).parents[3]
HTTP_NODE_PORT = 30080
PYTHON = "docker.io/library/python:3.11-slim-bookworm"


def url(site: Site, path: str) -> str:
    """Where a path of the service is reached through the entrance."""
    return f"http://{site.published(HTTP_NODE_PORT)}/auth{path}"


def info(site: Site) -> dict[str, str]:
    """What the service says of itself, through the entrance."""
    with urllib.request.urlopen(url(site, "/info"), timeout=5) as answer:
        found: dict[str, str] = json.load(answer)
    return found


def state(site: Site) -> _slots.State:
    return _slots.read(site.cluster, "apps", "auth")


def get(site: Site, api_version: str, kind: str, name: str) -> dict[str, Any]:
    found = site.cluster.get(api_version, kind, name, "apps")
    assert found is not None, f"{kind} {name}"
    return found


def play(name: str, **extra: str) -> int:
    """Run one of the release playbooks, and return how many tasks changed something."""
    words = [f"{key}={value}" for key, value in {"service": "auth", **extra}.items()]
    command = [Path(sys.executable).with_name("ansible-playbook"), CHECKOUT / "playbooks" / f"{name}.yml"]
    arguments = [word for pair in words for word in ("-e", pair)]
    env = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run([*command, *arguments], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    recap = re.search(r"^localhost\s+: .*\bchanged=(\d+)", done.stdout, re.MULTILINE)
    assert recap is not None, done.stdout[-2000:]
    return int(recap[1])


@contextmanager
def load(site: Site, folder: Path) -> Iterator[Load]:
    """100 requests a second, half of them on connections that are kept."""
    with Load(url(site, "/info"), 100, 300, folder / "load") as running:
        yield running
        assert running.is_running, "the load ended by itself: the service was down"


def lost(requests: list[Request]) -> list[str]:
    return [request.line() for request in requests if request.is_lost]


def test_it_answers_by_its_path_and_from_the_slot_that_the_service_points_at(site: Site) -> None:
    serving = state(site).serving
    assert serving is not None
    assert info(site) == {"service": "auth", "version": serving.version, "slot": serving.name}


def test_its_documentation_knows_the_path_it_is_reached_by(site: Site) -> None:
    with urllib.request.urlopen(url(site, "/openapi.json"), timeout=5) as answer:
        assert json.load(answer)["servers"] == [{"url": "/auth"}]


def test_traffic_belongs_to_the_switch_and_size_to_the_autoscaler(site: Site) -> None:
    service = get(site, "v1", "Service", "auth")
    owners = {
        entry["manager"]
        for entry in service["metadata"]["managedFields"]
        if "f:selector" in json.dumps(entry["fieldsV1"])
    }
    assert "opsforge-service" not in owners, "a site run would move traffic"
    scaler = get(site, "autoscaling/v2", "HorizontalPodAutoscaler", "auth")
    assert scaler["spec"]["scaleTargetRef"]["name"] == f"auth-{state(site).active}"
    for slot in state(site).slots:
        applied = [
            entry
            for entry in get(site, "apps/v1", "Deployment", f"auth-{slot}")["metadata"]["managedFields"]
            if entry["manager"] == "opsforge-service"
        ]
        assert applied and all("f:replicas" not in entry["fieldsV1"]["f:spec"] for entry in applied)


def test_its_pods_are_spread_and_protected(site: Site) -> None:
    serving = state(site).serving
    assert serving is not None
    assert serving.ready >= 2
    nodes = {get(site, "v1", "Pod", pod)["spec"]["nodeName"] for pod in serving.pods}
    assert len(nodes) >= 2, "one node must not take the service with it"
    # None while the autoscaler adds a pod.
    budget = ("policy/v1", "PodDisruptionBudget", f"auth-{serving.name}")
    site.eventually(lambda: get(site, *budget)["status"]["disruptionsAllowed"] >= 1)


def test_its_pods_carry_no_token_and_no_secret_in_plain(site: Site) -> None:
    deployment = get(site, "apps/v1", "Deployment", f"auth-{state(site).active}")
    spec = deployment["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    secret = get(site, "v1", "Secret", "auth")["data"]["OPSFORGE_SIGNING_SECRET"]
    assert len(secret) >= 48
    assert secret not in json.dumps(deployment)


def test_pod_security_is_enforced(site: Site) -> None:
    bad = site.pod(PYTHON, ["sleep", "1"])["spec"]
    bad["containers"][0]["securityContext"] = {"privileged": True}
    wanted = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": site.name, "namespace": "apps"}, "spec": bad}
    with pytest.raises((Forbidden, Invalid), match="violates PodSecurity"):
        site.cluster.create(wanted, dry_run=True)


def test_a_release_and_a_rollback_under_load_lose_nothing(site: Site, tmp_path: Path) -> None:
    """Leaves the service where it was; its idle slot then holds the version of this test."""
    before = info(site)
    version = f"{before['version'].removesuffix('-next')}-next"
    with load(site, tmp_path) as running:
        assert play("release", version=version) > 0
        assert info(site)["version"] == version
        assert play("release", version=version) == 0, "the same release again changes nothing"
        assert play("rollback") == 1
        assert info(site) == before
        assert play("rollback") == 0, "a second rollback does not bring the version back"
    requests = list(running.requests())
    assert len(requests) > 500
    assert lost(requests) == []
    actions = [(entry.action, entry.version) for entry in state(site).history[-2:]]
    assert actions == [("release", version), ("rollback", before["version"])]
