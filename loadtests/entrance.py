# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the shop of a local platform is reached."""

from __future__ import annotations

import subprocess


class NoEntrance(Exception):
    """There is no such platform on this machine; the text says what to do."""


def entrance(platform: str) -> str:
    """Where the first control plane publishes its http port, as `127.0.0.1:8080`. Raises NoEntrance."""
    ask = ["docker", "port", f"{platform}-cp1", "30080/tcp"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoEntrance("there is no docker on this machine (make site)") from error
    if answer.returncode:
        raise NoEntrance(f"there is no platform {platform} on this machine (make site): {answer.stderr.strip()}")
    return answer.stdout.split()[0]
