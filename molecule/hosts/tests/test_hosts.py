# SPDX-License-Identifier: GPL-3.0-or-later
"""The local hosts are containers with systemd: running, marked as this checkout's, and not privileged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import testinfra

PLATFORM = os.environ.get("OPSFORGE_PLATFORM", "opsforge")
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def containers() -> dict[str, Any]:
    """What Docker says of every host of the platform, by the host's own name."""
    docker = testinfra.get_host("local://")
    mine = f"--filter label=opsforge.dev/platform={PLATFORM} --filter label=opsforge.dev/component=node"
    ids = docker.check_output(f"docker ps --all --quiet {mine}").split()
    found = json.loads(docker.check_output(f"docker inspect {' '.join(ids)}"))
    return {container["Config"]["Hostname"]: container for container in found}


def test_every_host_of_the_inventory_runs(containers: dict[str, Any]) -> None:
    assert set(containers) >= {"cp1", "worker1"}
    assert all(container["State"]["Running"] for container in containers.values())


def test_systemd_is_up_in_each(containers: dict[str, Any]) -> None:
    for container in containers.values():
        host = testinfra.get_host(f"docker://{container['Name'].lstrip('/')}")
        assert host.file("/proc/1/comm").content_string.strip() == "systemd"
        assert host.check_output("systemctl list-units --state=failed --no-legend") == ""


def test_addresses_are_fixed(containers: dict[str, Any]) -> None:
    """Docker gives a stopped host its own address back only if it was asked for by number."""
    for container in containers.values():
        (network,) = container["NetworkSettings"]["Networks"].values()
        assert network["IPAMConfig"]["IPv4Address"] == network["IPAddress"]


def test_hosts_belong_to_this_checkout_and_start_with_the_daemon(containers: dict[str, Any]) -> None:
    for container in containers.values():
        assert container["Config"]["Labels"]["opsforge.dev/checkout"] == str(CHECKOUT)
        assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_hosts_are_not_privileged(containers: dict[str, Any]) -> None:
    for container in containers.values():
        assert container["HostConfig"]["Privileged"] is False
        assert container["HostConfig"]["CapDrop"] == ["SYS_RESOURCE"]


def test_only_loopback_ports_are_published_and_only_by_the_entry(containers: dict[str, Any]) -> None:
    published = {
        name: {
            inside: [outside["HostIp"] for outside in bindings]
            for inside, bindings in (container["HostConfig"]["PortBindings"] or {}).items()
        }
        for name, container in containers.items()
    }
    assert published.pop("cp1") == {port: ["127.0.0.1"] for port in ("6443/tcp", "30080/tcp", "30443/tcp")}
    assert not any(published.values())
