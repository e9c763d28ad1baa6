# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of incidents and releases become metrics, by a kube-state-metrics with the rights that the role gives it."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils import _releases
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.tests.unit.monitoring.rendering import render
from ansible_collections.opsforge.platform.tests.unit.roles import Objects

from .control_plane import ControlPlane, find_binary, free_ports
from .patience import eventually

NAME = "kube-state-metrics-records"


@contextmanager
def kube_state_metrics(objects: Objects, kubeconfig: Path) -> Iterator[Callable[[], str]]:
    """Run it with the arguments that its pod would have; gives what it shows."""
    port, telemetry = free_ports(2)
    (container,) = objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"]
    arguments = [word for word in container["args"] if "port=" not in word]
    command = [
        str(find_binary("kube-state-metrics-binary", "kube-state-metrics")),
        f"--kubeconfig={kubeconfig}",
        f"--port={port}",
        f"--telemetry-port={telemetry}",
        "--host=127.0.0.1",
        "--telemetry-host=127.0.0.1",
        *arguments,
    ]

    def shown() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    with kubeconfig.with_name("kube-state-metrics.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield shown
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def kubeconfig(control_plane: ControlPlane, tmp_path: Path) -> Path:
    """What the pod may do and no more: the administrator acts as its service account."""
    config = yaml.safe_load(control_plane.kubeconfig.read_text(encoding="utf-8"))
    config["users"][0]["user"]["as"] = f"system:serviceaccount:monitoring:{NAME}"
    authority = control_plane.folder / config["clusters"][0]["cluster"]["certificate-authority"]
    config["clusters"][0]["cluster"]["certificate-authority"] = str(authority)
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def test_records_are_shown_and_nothing_else_is_seen(
    cluster: Cluster, namespace: str, kubeconfig: Path, run_module: Callable[..., dict[str, Any]]
) -> None:
    objects = render(monitoring_services_namespace=namespace)
    for kind in ("Role", "RoleBinding"):
        cluster.apply(objects[kind, f"opsforge:{NAME}"], manager="opsforge")
    opened = run_module(
        "incident", namespace=namespace, state="opened", service="auth", key="auth is down", text="auth is down"
    )
    (incident,) = opened["incidents"]
    release = _releases.Release(1, "2026-01-02T03:04:05Z", _releases.RELEASE, "blue", "1.0.0")
    _releases.append(cluster, namespace, "auth", release, manager="opsforge")
    label = f'namespace="{namespace}",configmap="incident-{incident["id"]}"'
    open_ = (
        f'kube_configmap_labels{{{label},label_app_kubernetes_io_name="auth",label_opsforge_dev_component="incident"'
    )

    with kube_state_metrics(objects, kubeconfig) as shown:
        found = eventually(lambda: text if open_ in (text := shown()) else "", hope=open_)
    (line,) = [line for line in found.splitlines() if line.startswith(open_)]
    assert 'label_opsforge_dev_incident_state="open"' in line
    assert f"kube_configmap_created{{{label}}}" in found
    last = 'annotation_opsforge_dev_release_{}="{}"'
    facts = {"number": "1", "action": "release", "slot": "blue", "version": "1.0.0"}
    shown_release = ",".join(last.format(key, facts[key]) for key in sorted(facts))
    assert f'configmap="auth-releases",{shown_release}}} 1' in found
    assert {line.split("{")[0] for line in found.splitlines() if not line.startswith("#")} == {
        "kube_configmap_labels",
        "kube_configmap_annotations",
        "kube_configmap_created",
    }
