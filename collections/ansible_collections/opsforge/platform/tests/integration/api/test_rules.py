# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules, read and played by Prometheus' own promtool."""

from __future__ import annotations

from pathlib import Path

import pytest

from .prometheus import promtool

FILES = Path(__file__).parents[3] / "roles/monitoring/files"


@pytest.mark.parametrize("path", sorted((FILES / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_rules_do_what_their_tests_say(path: Path) -> None:
    promtool("test", "rules", path)


def test_rules_are_accepted() -> None:
    promtool("check", "rules", *sorted((FILES / "rules").glob("*.yml")))
