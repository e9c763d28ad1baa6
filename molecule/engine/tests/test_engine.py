# SPDX-License-Identifier: GPL-3.0-or-later
"""A container engine answers, and runs containers."""

from __future__ import annotations

import os

import testinfra

PLATFORM = os.environ.get("OPSFORGE_PLATFORM", "opsforge")


def test_the_engine_runs_the_platforms_containers() -> None:
    host = testinfra.get_host("local://")
    names = host.check_output(
        f"docker ps --filter label=opsforge.dev/platform={PLATFORM} --format '{{{{.Names}}}}'"
    ).split()
    assert {f"{PLATFORM}-registry", f"{PLATFORM}-files"} <= set(names)
