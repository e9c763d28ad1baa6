# SPDX-License-Identifier: GPL-3.0-or-later
"""The load tests: every script with every profile is sound, a short one passes, and no load leaves this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from loadtests.__main__ import HERE as SCRIPTS
from loadtests.__main__ import PROFILES, k6, scripts

if TYPE_CHECKING:
    from conftest import Site

HERE = "http://127.0.0.1:8080"


def loadtests(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests", *words]
    return subprocess.run(
        command, cwd=SCRIPTS.parent, capture_output=True, text=True, check=False, env=os.environ | environment
    )


@pytest.mark.parametrize("script", scripts())
def test_every_profile_is_bounded_and_has_thresholds(script: str) -> None:
    for profile in PROFILES:
        program, _, *words = k6(script, profile, HERE)
        settings = [word for word in words if not word.startswith("--")]
        done = subprocess.run([program, "inspect", *settings], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert {"checks", "http_req_failed"} <= found["thresholds"].keys()
        assert any(name.startswith("http_req_duration") for name in found["thresholds"]) == (profile != "smoke")
        (scenario,) = found["scenarios"].values()
        assert scenario["maxVUs"] <= 300
        assert all(stage["target"] <= 1000 for stage in scenario["stages"])


def test_the_walk_holds_its_thresholds(site: Site) -> None:
    done = loadtests("walk", OPSFORGE_PLATFORM=site.platform)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "checks_succeeded" in done.stdout


def test_nobody_to_ask_is_one_sentence() -> None:
    done = loadtests("catalog", OPSFORGE_PLATFORM="no-such-platform")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no platform no-such-platform on this machine" in done.stderr


def test_a_broken_threshold_is_the_status() -> None:
    """A port that nobody listens on answers nothing."""
    assert loadtests("payments", "--url", "http://127.0.0.1:9").returncode != 0


@pytest.mark.parametrize("url", ["http://192.0.2.1:8080", "http://127.0.0.1.example.org", "http://localhost@192.0.2.1"])
def test_load_stays_on_this_machine(url: str) -> None:
    done = loadtests("catalog", "--url", url)
    assert done.returncode != 0
    assert "is not a loopback address" in done.stdout + done.stderr
