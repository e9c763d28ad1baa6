# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic moves without a lost request though the controller dies, the service is at its maximum, or a node goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]


def test_nobody_loses_a_request_while_something_else_goes_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.hardship", "--short", "--results", str(tmp_path)]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads((tmp_path / "hardship.json").read_text())
    summary = found["summary"]
    assert (summary["switches"], summary["rollbacks"]) == (8, 8)
    assert summary["requests"] > 10_000
    assert summary["lost"] == 0, found["losses"]
