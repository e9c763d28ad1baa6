# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster is the one that was asked for, reachable by the controller and fast in what switches depend on."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import testinfra
import yaml

if TYPE_CHECKING:
    from conftest import Site

PLATFORM = os.environ.get("OPSFORGE_PLATFORM", "opsforge")
DEFAULTS = yaml.safe_load((Path(__file__).parents[3] / "roles/cluster/defaults/main.yml").read_text())


@pytest.fixture(scope="module")
def plane() -> Any:
    """The founding control plane."""
    return testinfra.get_host(f"docker://{PLATFORM}-cp1")


def test_kubeconfig_is_for_its_owner_only(site: Site) -> None:
    assert stat.S_IMODE((site.state_dir / "kubeconfig").stat().st_mode) == 0o600


def test_nodes_are_ready_and_of_the_wished_version(site: Site) -> None:
    nodes = site.cluster.list("v1", "Node")
    assert len(nodes) >= 2
    for node in nodes:
        assert node["status"]["nodeInfo"]["kubeletVersion"] == f"v{DEFAULTS['cluster_version']}"
        assert {"type": "Ready", "status": "True"}.items() <= next(
            entry for entry in node["status"]["conditions"] if entry["type"] == "Ready"
        ).items()


def test_services_reach_the_packet_filter_within_milliseconds(site: Site, plane: Any) -> None:
    """kube-proxy's own pause of a second between two writes is what makes switches slow."""
    settings = site.cluster.get("v1", "ConfigMap", "kube-proxy", "kube-system")
    assert settings
    config = yaml.safe_load(settings["data"]["config.conf"])
    assert (config["mode"], config["nftables"]["minSyncPeriod"]) == (
        "nftables",
        DEFAULTS["cluster_service_sync_period"],
    )
    assert plane.check_output("curl --silent --fail http://127.0.0.1:10249/proxyMode") == "nftables"


@pytest.mark.parametrize("port", [2381, 10249])
def test_parts_show_their_metrics_to_the_cluster(site: Site, plane: Any, port: int) -> None:
    node = site.cluster.get("v1", "Node", "cp1")
    assert node
    address = next(entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP")
    assert "process_cpu_seconds_total" in plane.check_output(f"curl --silent --fail http://{address}:{port}/metrics")


def test_marker_says_that_kubeadm_has_finished(plane: Any) -> None:
    state, name, digest = plane.file("/var/lib/opsforge/cluster").content_string.split()
    assert (state, name, len(digest)) == ("done", PLATFORM, 64)


def test_no_token_is_left_on_the_hosts(plane: Any) -> None:
    assert plane.file("/etc/opsforge/kubeadm/cluster.yaml").mode == 0o600
    assert not plane.file("/etc/opsforge/kubeadm/join.yaml").exists
