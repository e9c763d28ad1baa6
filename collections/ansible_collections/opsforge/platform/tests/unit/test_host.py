# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is told to be, drawn as files below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _host

ALL_CAPABILITIES = "CapBnd:\t000001ffffffffff\n"
NO_SYS_RESOURCE = "CapBnd:\t000001fffeffffff\n"


@pytest.mark.parametrize(
    ("status", "number", "expected"),
    [
        (ALL_CAPABILITIES, _host.CAP_SYS_RESOURCE, True),
        (NO_SYS_RESOURCE, _host.CAP_SYS_RESOURCE, False),
        (NO_SYS_RESOURCE, _host.CAP_SYS_MODULE, True),
        ("", _host.CAP_SYS_MODULE, False),
    ],
)
def test_has_capability(status: str, number: int, expected: bool) -> None:
    assert _host.has_capability(status, number) is expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["nameserver 192.0.2.1\nnameserver 192.0.2.2\n"], ["192.0.2.1", "192.0.2.2"]),
        (["nameserver 127.0.0.11\n"], []),
        (["nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n"], ["192.0.2.1"]),
        (["nameserver ::1\nnameserver 2001:db8::1\n"], ["2001:db8::1"]),
        (["nameserver fe80::1%eth0\n"], ["fe80::1%eth0"]),
        (["# nameserver 192.0.2.1\nnameserver nonsense\nsearch local\n", ""], []),
    ],
    ids=["plain", "docker", "systemd-resolved", "loopback left out", "with zone", "none"],
)
def test_upstream_nameservers(texts: list[str], expected: list[str]) -> None:
    assert _host.upstream_nameservers(texts) == expected


@pytest.mark.parametrize(
    ("traces", "marker", "expected"),
    [
        (False, "", ("absent", "")),
        (False, "started shop\n", ("absent", "")),
        (True, "", ("foreign", "")),
        (True, "done other abc\n", ("foreign", "")),
        (True, "started shop\n", ("partial", "")),
        (True, "done shop abc\n", ("member", "abc")),
        (True, "done shop\n", ("member", "")),
    ],
)
def test_membership(traces: bool, marker: str, expected: tuple[str, str]) -> None:
    assert _host.membership(traces, marker, "shop") == expected


def test_service_states() -> None:
    shown = "ActiveState=active\nUnitFileState=enabled\n\nActiveState=inactive\nUnitFileState=\n"
    assert _host.service_states(shown, ["containerd", "kubelet"]) == {
        "containerd": {"active": True, "enabled": True},
        "kubelet": {"active": False, "enabled": False},
    }


def test_service_states_without_systemd() -> None:
    assert _host.service_states("", ["kubelet"]) == {"kubelet": {"active": False, "enabled": False}}


def inspect(root: Path) -> dict[str, Any]:
    return _host.inspect(root, commands=["sh", "no-such"], cluster="shop", marker="/marker", data="/a/b", services={})


def test_inspect_an_empty_host(tmp_path: Path) -> None:
    found = inspect(tmp_path)
    assert found["cgroup_version"] == 1
    assert found["membership"] == "absent"
    assert found["missing_commands"] == ["no-such"]
    assert (found["container"], found["swap"], found["nameservers"], found["ca_sha256"]) == (False, [], [], "")
    assert found["free_bytes"] > 0


def test_inspect_a_member_in_a_container(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/cgroup.controllers": "cpu memory",
        "run/systemd/container": "docker",
        "proc/1/status": NO_SYS_RESOURCE,
        "proc/swaps": "Filename\tType\n/dev/vdb partition 1 0 -2\n",
        "proc/meminfo": "MemTotal:    2048 kB\n",
        "proc/sys/net/bridge/bridge-nf-call-iptables": "1",
        "etc/kubernetes/pki/ca.crt": "certificate",
        "marker": "done shop abc",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = inspect(tmp_path)
    assert found["cgroup_version"] == 2
    assert found["container"] is True
    assert found["oom_score_adjustable"] is False
    assert found["modules_loadable"] is False
    assert found["bridge_filtered"] is True
    assert found["swap"] == ["/dev/vdb"]
    assert found["memory_bytes"] == 2 * 1024 * 1024
    assert (found["membership"], found["applied"]) == ("member", "abc")
    assert len(found["ca_sha256"]) == 64
