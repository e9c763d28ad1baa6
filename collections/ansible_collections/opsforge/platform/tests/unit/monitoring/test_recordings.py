# SPDX-License-Identifier: GPL-3.0-or-later
"""Every recorded series is proved by promtool, has a name that says what it is, and is recorded once."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.tests.unit.roles import ROLES

FILES = ROLES / "monitoring/files"

# level:metric:operations
NAME = re.compile(r"[a-z_]+:[a-z0-9_]+:[a-z0-9_]+")


@cache
def groups(chosen: str = "") -> list[dict[str, Any]]:
    """The rule groups of all files whose names match."""
    paths = [path for path in sorted((FILES / "rules").glob("*.yml")) if re.match(chosen, path.name)]
    return [group for path in paths for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]


def recordings(chosen: str = "") -> list[str]:
    """The names of what they record."""
    return [rule["record"] for group in groups(chosen) for rule in group["rules"] if "record" in rule]


@cache
def proved() -> str:
    """Every expression that a promtool test expects a value of."""
    tests = [
        test
        for path in sorted((FILES / "tests").glob("*.yml"))
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    ]
    return "\n".join(
        check["expr"] for test in tests for check in test.get("promql_expr_test", []) if check.get("exp_samples")
    )


@pytest.mark.parametrize("name", sorted(set(recordings())))
def test_recording_is_named_as_usual(name: str) -> None:
    assert NAME.fullmatch(name)


# What stands beside alerts, as a part of their expressions, is proved with them.
@pytest.mark.parametrize("name", sorted(set(recordings("(?!alerts_)"))))
def test_recording_is_proved(name: str) -> None:
    assert re.search(rf"(?<![\w:]){name}(?![\w:])", proved())


def test_nothing_is_recorded_twice() -> None:
    """By whom, with which labels: the later one would win."""
    assert [name for name, count in Counter(recordings()).items() if count > 1] == []


def test_no_two_groups_have_one_name() -> None:
    assert [name for name, count in Counter(group["name"] for group in groups()).items() if count > 1] == []
