# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks as a person would type them, and reads what they said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[7]
LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Run:
    """One finished ansible-playbook: exit code, changed tasks, and each failure's message."""

    code: int
    changed: list[str]
    failures: list[str]
    output: str


def read(code: int, output: str, errors: str) -> Run:
    """The run told by the JSON callback, between what other callbacks print."""
    start = output.find("{\n")
    if start < 0:
        return Run(code, [], [errors.strip()], output + errors)
    report, _ = json.JSONDecoder().raw_decode(output, start)
    changed, failures = [], []
    for play in report["plays"]:
        for task in play["tasks"]:
            for host, result in task["hosts"].items():
                if result.get("failed") or result.get("unreachable"):
                    items = [item for item in result.get("results", []) if item.get("failed")]
                    failures += [str(item.get("msg", "")) for item in items or [result]]
                elif result.get("changed"):
                    changed.append(f"{host}: {task['task']['name']}")
    return Run(code, changed, failures, output + errors)


def play(playbook: str, *arguments: str, platform: str | None = None, inventory: str | None = None) -> Run:
    """Runs playbooks/<playbook>.yml to its end, for the platform of that name."""
    environment = os.environ | {
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }
    if platform:
        environment["OPSFORGE_PLATFORM"] = platform
    command = [str(Path(sys.executable).with_name("ansible-playbook")), f"playbooks/{playbook}.yml", *arguments]
    if inventory:
        command += ["--inventory", inventory]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    return read(done.returncode, done.stdout, done.stderr)


def docker_objects(kind: str, platform: str) -> list[str]:
    """Names of the docker objects of a kind that belong to a platform."""
    all_of_them = ["--all"] if kind == "container" else []
    listing = subprocess.run(
        ["docker", kind, "ls", *all_of_them, "--quiet", "--filter", f"label=opsforge.dev/platform={platform}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return listing.stdout.split()
