# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules, read and played by Prometheus' own promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .control_plane import find_binary

FILES = Path(__file__).parents[3] / "roles/monitoring/files"


def promtool(*words: str | Path) -> None:
    """Run promtool; fails with its words if it does."""
    command = [find_binary("prometheus", "promtool"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((FILES / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_rules_do_what_their_tests_say(path: Path) -> None:
    promtool("test", "rules", path)


def test_rules_are_accepted() -> None:
    promtool("check", "rules", *sorted((FILES / "rules").glob("*.yml")))
