# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is and may do, as far as a Kubernetes node depends on it.

Read from files of the kernel and of kubeadm below a root folder, so that tests can draw a machine.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

CAP_SYS_MODULE = 16
CAP_SYS_RESOURCE = 24
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# What only a host has on which kubeadm once ran, to its end or not; its reset removes them, and leaves empty folders.
KUBEADM_TRACES = (
    "etc/kubernetes/pki/ca.crt",
    "etc/kubernetes/bootstrap-kubelet.conf",
    "etc/kubernetes/kubelet.conf",
    "var/lib/etcd/member",
)


def has_capability(status: str, number: int) -> bool:
    """Tell whether the bounding set in a `/proc/<pid>/status` text holds the capability."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def swap_devices(swaps: str) -> list[str]:
    """Return the devices of a `/proc/swaps` text."""
    return [line.split()[0] for line in swaps.splitlines()[1:] if line.strip()]


def upstream_nameservers(texts: Iterable[str]) -> list[str]:
    """Return the name servers of the first resolver file that names one which a pod can reach.

    A loopback address (a local stub or Docker's 127.0.0.11) means the pod itself once it stands in a pod.
    """
    for text in texts:
        words = [line.split() for line in text.splitlines()]
        servers = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and not _is_loopback(word[1])]
        if servers:
            return servers
    return []


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True


def memory_bytes(meminfo: str) -> int:
    """Return MemTotal of a `/proc/meminfo` text, in bytes."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def membership(kubeadm_traces: bool, marker: str, cluster: str) -> tuple[str, str]:
    """Tell what kubeadm left, and the digest of the configuration that it was given.

    It left nothing (`absent`), something of another cluster (`foreign`) or of a run that was cut off (`partial`), or
    the host is a `member`. The marker is the text that the role cluster writes: `started <cluster>` before kubeadm's
    work, `done <cluster> <digest>` after it.
    """
    state, name, digest = [*marker.split(), "", "", ""][:3]
    if not kubeadm_traces:
        return "absent", ""
    if name != cluster:
        return "foreign", ""
    return ("member", digest) if state == "done" else ("partial", "")


def service_states(shown: str, names: Iterable[str]) -> dict[str, dict[str, bool]]:
    """Return for each service whether it is active and enabled, by the output of `systemctl show` for all of them."""
    blocks = shown.strip().split("\n\n") if shown.strip() else []
    states = {}
    for name, block in itertools.zip_longest(names, blocks, fillvalue=""):
        lines = block.splitlines()
        states[name] = {"active": "ActiveState=active" in lines, "enabled": "UnitFileState=enabled" in lines}
    return states


def show_services(names: Sequence[str]) -> str:
    """Ask systemd for the states of services; empty where no systemd runs."""
    command = ["systemctl", "show", "--property=ActiveState,UnitFileState", *(f"{name}.service" for name in names)]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout if names else ""
    except OSError:
        return ""


def inspect(
    root: Path, *, commands: Iterable[str], cluster: str, marker: str, data: str, services: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a node role decides by.

    `commands` are looked up in the system's search path, `cluster` and the file `marker` are those of `membership`,
    `data` is the folder whose file system's free bytes are told (or its closest existing parent's), `services` is
    handed through.
    """

    def read(path: str) -> str:
        try:
            return (root / path.lstrip("/")).read_text()
        except OSError:
            return ""

    status = read("proc/1/status")
    member, applied = membership(any((root / trace).exists() for trace in KUBEADM_TRACES), read(marker), cluster)
    folder = root / data.lstrip("/")
    while not folder.exists():
        folder = folder.parent
    return {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "cgroup_version": 2 if (root / "sys/fs/cgroup/cgroup.controllers").exists() else 1,
        "container": (root / "run/systemd/container").exists(),
        "oom_score_adjustable": has_capability(status, CAP_SYS_RESOURCE),
        "modules_loadable": has_capability(status, CAP_SYS_MODULE)
        and (root / "lib/modules" / os.uname().release).exists(),
        "bridge_filtered": (root / "proc/sys/net/bridge/bridge-nf-call-iptables").exists(),
        "swap": swap_devices(read("proc/swaps")),
        "nameservers": upstream_nameservers([read("etc/resolv.conf"), read("run/systemd/resolve/resolv.conf")]),
        "cpus": os.cpu_count() or 1,
        "memory_bytes": memory_bytes(read("proc/meminfo")),
        "free_bytes": shutil.disk_usage(folder).free,
        "missing_commands": sorted(name for name in commands if not shutil.which(name, path=SEARCH_PATH)),
        "membership": member,
        "applied": applied,
        "ca_sha256": _digest(read("etc/kubernetes/pki/ca.crt")),
        "admin_sha256": _digest(read("etc/kubernetes/admin.conf")),
        "services": dict(services),
    }
