# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic moves without a lost request though the controller dies, the service is at its maximum, or a node goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "hardships",
    [
        pytest.param(["controller_killed"], id="killed"),
        pytest.param(["plain", "autoscaler_at_maximum", "node_drained"], id="the rest", marks=pytest.mark.thorough),
    ],
)
def test_nobody_loses_a_request_while_something_else_goes_wrong(tmp_path: Path, hardships: list[str]) -> None:
    command = [sys.executable, "-m", "benchmarks.hardship", "--short", "--results", str(tmp_path), "--only", *hardships]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads((tmp_path / "hardship.json").read_text())
    summary = found["summary"]
    assert summary["switches"] == summary["rollbacks"] == 2 * len(hardships)
    assert summary["requests"] > 1_000 * summary["switches"]
    assert summary["lost"] == 0, found["losses"]
