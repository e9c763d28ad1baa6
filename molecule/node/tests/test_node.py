# SPDX-License-Identifier: GPL-3.0-or-later
"""A node has what a cluster needs of it, at the pinned versions and set up as its machine demands."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml

PLATFORM = os.environ.get("OPSFORGE_PLATFORM", "opsforge")
DEFAULTS = yaml.safe_load((Path(__file__).parents[3] / "roles/node/defaults/main.yml").read_text())
FILTER = f"--filter label=opsforge.dev/platform={PLATFORM} --filter label=opsforge.dev/component=node"
NAMES = testinfra.get_host("local://").check_output("docker ps --format '{{.Names}}' " + FILTER).split()


@pytest.fixture(params=NAMES)
def node(request: pytest.FixtureRequest) -> Any:
    """Each host of the platform in turn."""
    return testinfra.get_host(f"docker://{request.param}")


def test_there_are_nodes() -> None:
    assert len(NAMES) >= 2


@pytest.mark.parametrize("service", ["containerd", "kubelet"])
def test_service_runs_now_and_after_a_start(node: Any, service: str) -> None:
    assert node.service(service).is_running
    assert node.service(service).is_enabled


def test_programs_have_the_pinned_versions(node: Any) -> None:
    assert f"v{DEFAULTS['node_containerd_version']}" in node.check_output("containerd --version")
    assert node.check_output("kubelet --version") == f"Kubernetes v{DEFAULTS['node_kubernetes_version']}"
    assert node.check_output("kubeadm version --output short") == f"v{DEFAULTS['node_kubernetes_version']}"


def test_containerd_fits_the_machine(node: Any) -> None:
    """Control groups are driven by systemd on version 2 only, and by kubelet in the same way."""
    version_2 = node.file("/sys/fs/cgroup/cgroup.controllers").exists
    plugins = tomllib.loads(node.file("/etc/containerd/config.toml").content_string)["plugins"]
    runtime = plugins["io.containerd.cri.v1.runtime"]
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is version_2
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == DEFAULTS["node_pause_image"]
    kubelet = yaml.safe_load(node.file("/var/lib/kubelet/config.yaml").content_string)
    assert kubelet["cgroupDriver"] == ("systemd" if version_2 else "cgroupfs")


def test_images_come_through_the_mirror(node: Any) -> None:
    for registry in DEFAULTS["node_registry_mirrors"]:
        settings = tomllib.loads(node.file(f"/etc/containerd/certs.d/{registry}/hosts.toml").content_string)
        ((address, mirror),) = settings["host"].items()
        assert address.endswith(f"/v2/{registry}")
        assert mirror["override_path"] is True


@pytest.mark.parametrize("key", ["net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"])
def test_kernel_forwards_and_filters(node: Any, key: str) -> None:
    assert node.sysctl(key) == 1


def test_pods_get_name_servers_that_they_can_reach(node: Any) -> None:
    lines = node.file("/etc/opsforge/resolv.conf").content_string.splitlines()
    assert lines
    assert not [line for line in lines if line.split()[1].startswith("127.")]
