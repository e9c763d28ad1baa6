# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._engine import (
    GIB,
    Container,
    Engine,
    Machine,
    free_bytes,
    inspect,
    refusal,
    wait,
)
from ansible_collections.opsforge.platform.plugins.module_utils._errors import TimedOut

FIT = Machine(
    installed=True, answers=True, systemd=False, root=True, memory=8 * GIB, disk=50 * GIB, disk_path="/var/lib/docker"
)
OURS = Container("opsforge-cp1", True, "opsforge", "/srv/a")


def ask(machine: Machine, checkout: str = "/srv/a") -> str:
    return refusal(machine, platform="opsforge", checkout=checkout, min_memory=6 * GIB, min_disk=20 * GIB)


@pytest.mark.parametrize(
    "machine, words",
    [
        (FIT, ""),
        (replace(FIT, memory=4 * GIB), "4.0 GiB of memory, and the platform needs 6.0"),
        (replace(FIT, disk=GIB), "disk of /var/lib/docker has 1.0 GiB free, and the platform needs 20.0"),
        (replace(FIT, disk=GIB, containers=(OURS,)), ""),
        (replace(FIT, answers=False), ""),
        (replace(FIT, answers=False, root=False), "needs root"),
    ],
)
def test_refusal(machine: Machine, words: str) -> None:
    message = ask(machine)
    assert words in message
    assert bool(message) == bool(words)


def test_a_second_checkout_is_told_where_the_first_is() -> None:
    message = ask(replace(FIT, containers=(OURS,)), checkout="/srv/b")
    assert "/srv/a" in message
    assert "OPSFORGE_PLATFORM" in message
    other = Container("other-cp1", True, "other", "/srv/c")
    assert ask(replace(FIT, containers=(other,)), checkout="/srv/b") == ""


def answering(output: str, code: int = 0) -> Engine:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, output, "")

    return Engine("docker", run)


def test_containers_with_and_without_labels() -> None:
    engine = answering("opsforge-cp1\trunning\topsforge\t/srv/a\t\nother\texited\t\t\t\n")
    assert engine.containers() == (OURS, Container("other", False, "", ""))


def test_silence_is_not_an_empty_engine() -> None:
    assert answering("", 1).containers() is None
    assert Engine("no-such-command").containers() is None
    assert answering("").containers() == ()


def test_wait_gives_up_and_names_the_log() -> None:
    now = [0.0]
    with pytest.raises(TimedOut, match="within 3 s; /var/log/x may say why"):
        wait(
            answering("", 1),
            3,
            "/var/log/x",
            sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
            clock=lambda: now[0],
        )


def test_inspect_reports_the_fullest_disk(tmp_path: Path) -> None:
    machine = inspect(answering(""), [str(tmp_path), str(tmp_path / "not/yet/there")])
    assert machine.answers
    assert machine.installed
    assert machine.memory > 0
    assert machine.disk == pytest.approx(free_bytes(tmp_path), rel=0.01)
