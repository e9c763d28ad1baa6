# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole site, asked again: it says what is, and what would be."""

from __future__ import annotations

import pytest

from ansible_collections.opsforge.platform.tests.integration.site.harness import play

pytestmark = pytest.mark.site


def test_second_run_changes_nothing() -> None:
    run = play("site")
    assert (run.code, run.failures, run.changed) == (0, [], [])


def test_check_on_a_converged_platform_reports_nothing() -> None:
    run = play("site", "--check", "--diff")
    assert (run.code, run.failures, run.changed) == (0, [], [])


def test_check_on_an_empty_machine_says_what_would_be_made(spare_platform: str) -> None:
    run = play("site", "--check", "--diff", platform=spare_platform)
    assert (run.code, run.failures) == (0, [])
    assert run.changed
