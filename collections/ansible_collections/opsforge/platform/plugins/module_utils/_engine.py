# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine of this machine, and what the machine has for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.opsforge.platform.plugins.module_utils._errors import TimedOut
from ansible_collections.opsforge.platform.plugins.module_utils._host import memory_bytes

LABELS = ("opsforge.dev/platform", "opsforge.dev/checkout", "opsforge.dev/config")
GIB = 1 << 30


@dataclass(frozen=True)
class Container:
    """One container of the engine, with the labels that say whose it is (empty: somebody else's)."""

    name: str
    running: bool
    platform: str
    checkout: str
    config: str = ""


@dataclass(frozen=True)
class Machine:
    """What decides whether and how an engine runs here; sizes in bytes."""

    installed: bool
    answers: bool
    systemd: bool
    root: bool
    memory: int
    disk: int
    disk_path: str
    containers: tuple[Container, ...] = ()


class Engine:
    """The engine's command line; the seam for tests is `run`."""

    def __init__(self, command: str = "docker", run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run):
        self._command, self._run = command, run

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run([self._command, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    def is_installed(self) -> bool:
        """Whether the command line and the daemon are there."""
        return shutil.which(self._command) is not None and shutil.which("dockerd", path=_admin_path()) is not None

    def containers(self) -> tuple[Container, ...] | None:
        """All containers, stopped ones too; None if no engine answers."""
        labels = "\t".join(f'{{{{.Label "{label}"}}}}' for label in LABELS)
        try:
            done = self._ask("container", "ls", "--all", "--format", "{{.Names}}\t{{.State}}\t" + labels)
        except OSError:
            return None
        if done.returncode:
            return None
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        return tuple(Container(name, state == "running", *labels_of) for name, state, *labels_of in rows)

    def image_id(self, name: str) -> str:
        """The identity of an image that the engine has, or nothing."""
        try:
            done = self._ask("image", "inspect", "--format", "{{.Id}}", name)
        except OSError:
            return ""
        return "" if done.returncode else done.stdout.strip()


def inspect(engine: Engine, folders: Iterable[str]) -> Machine:
    """What this machine is; the disk is the fullest of those that hold the folders."""
    containers = engine.containers()
    free = {str(folder): free_bytes(Path(folder)) for folder in folders}
    fullest = min(free, key=lambda folder: free[folder])
    return Machine(
        # A client that reaches an engine, wherever that runs, is all that is needed.
        installed=containers is not None or engine.is_installed(),
        answers=containers is not None,
        systemd=Path("/run/systemd/system").is_dir(),
        root=os.geteuid() == 0,
        memory=memory_bytes(Path("/proc/meminfo").read_text(encoding="ascii")),
        disk=free[fullest],
        disk_path=fullest,
        containers=containers or (),
    )


def refusal(machine: Machine, *, platform: str, checkout: str, min_memory: int, min_disk: int) -> str:
    """Why nothing can be made here, in one sentence; empty if all is well.

    What already runs here is not refused for its size: the room is taken, and a repair needs little.
    """
    ours = [container for container in machine.containers if container.platform == platform]
    for container in ours:
        if container.checkout != checkout:
            return (
                f"The platform {platform} on this machine belongs to the checkout {container.checkout}: work there, "
                "remove it there with playbooks/down.yml, or name yours otherwise with OPSFORGE_PLATFORM."
            )
    if not machine.answers and not machine.root:
        return "No container engine answers, and installing or starting one needs root: run as root or start Docker."
    if ours:
        return ""
    if machine.memory < min_memory:
        return (
            f"This machine has {machine.memory / GIB:.1f} GiB of memory, and the platform needs {min_memory / GIB:.1f} "
            "(engine_min_memory_bytes)."
        )
    if machine.disk < min_disk:
        return (
            f"The disk of {machine.disk_path} has {machine.disk / GIB:.1f} GiB free, and the platform needs "
            f"{min_disk / GIB:.1f} (engine_min_free_disk_bytes)."
        )
    return ""


def wait(
    engine: Engine,
    timeout_seconds: float,
    log: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return when the engine answers; TimedOut if it has not by then."""
    end = clock() + timeout_seconds
    while engine.containers() is None:
        if clock() >= end:
            raise TimedOut(f"The container engine did not answer within {timeout_seconds:.0f} s; {log} may say why.")
        sleep(0.5)


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk that holds the folder, or that would if it were made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_port_free(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        with socket.create_server((address, port)):
            return True
    except OSError:
        return False


def _admin_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
