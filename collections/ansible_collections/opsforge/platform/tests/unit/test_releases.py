# SPDX-License-Identifier: GPL-3.0-or-later
"""The release record: what counts as a rollback, and that nobody's line is lost."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _releases
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict, Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._releases import RELEASE, ROLLBACK, Release

from .fake_cluster import FakeCluster

Moves = list[tuple[str, str]]


def story(*moves: tuple[str, str]) -> tuple[Release, ...]:
    """The record of traffic that went through these slots with these versions."""
    history: tuple[Release, ...] = ()
    for slot, version in moves:
        history += (_releases.following(history, slot, version, "", time="t", by="", drained=""),)
    return history


BLUE, GREEN = ("blue", "1.0.0"), ("green", "1.1.0")


@pytest.mark.parametrize(
    "moves, actions, undone",
    [
        pytest.param([BLUE], [RELEASE], 1, id="the first"),
        pytest.param([BLUE, GREEN], [RELEASE, RELEASE], 2, id="the second"),
        pytest.param([BLUE, GREEN, BLUE], [RELEASE, RELEASE, ROLLBACK], 2, id="back"),
        pytest.param([BLUE, GREEN, BLUE, GREEN], [RELEASE, RELEASE, ROLLBACK, RELEASE], 4, id="forward again"),
        pytest.param([BLUE, GREEN, ("blue", "1.2.0")], [RELEASE] * 3, 3, id="another version in the same slot"),
        pytest.param(
            [BLUE, GREEN, BLUE, ("green", "1.2.0"), BLUE],
            [RELEASE, RELEASE, ROLLBACK, RELEASE, ROLLBACK],
            4,
            id="two bad ones",
        ),
    ],
)
def test_going_back_is_a_rollback_and_a_rollback_is_never_undone(moves: Moves, actions: list[str], undone: int) -> None:
    history = story(*moves)
    assert [entry.action for entry in history] == actions
    found = _releases.before(history)
    assert found is not None
    assert found.number == undone


def test_nothing_to_undo() -> None:
    assert _releases.before(()) is None


def test_written_and_read() -> None:
    cluster = FakeCluster()
    history = story(BLUE, GREEN)
    for entry in history:
        _releases.append(cluster, "apps", "auth", entry, manager="test")
    found = cluster.get("v1", "ConfigMap", "auth-releases", "apps")
    assert _releases.read(found) == history
    assert found is not None
    assert found["metadata"]["labels"]["opsforge.dev/component"] == "releases"
    assert found["metadata"]["annotations"] == {
        "opsforge.dev/release-number": "2",
        "opsforge.dev/release-action": "release",
        "opsforge.dev/release-slot": "green",
        "opsforge.dev/release-version": history[-1].version,
    }


def test_a_lost_race_writes_nothing() -> None:
    cluster = FakeCluster()
    first, second = story(BLUE, GREEN)
    _releases.append(cluster, "apps", "auth", first, manager="test")
    with pytest.raises(Conflict):
        _releases.append(cluster, "apps", "auth", first, manager="test")
    assert _releases.read(cluster.get("v1", "ConfigMap", "auth-releases", "apps")) == (first,)


def test_the_oldest_lines_go() -> None:
    cluster = FakeCluster()
    moves = [("blue" if number % 2 else "green", f"1.{number}.0") for number in range(_releases.KEPT + 2)]
    for entry in story(*moves):
        _releases.append(cluster, "apps", "auth", entry, manager="test")
    kept = _releases.read(cluster.get("v1", "ConfigMap", "auth-releases", "apps"))
    assert [kept[0].number, kept[-1].number, len(kept)] == [3, _releases.KEPT + 2, _releases.KEPT]


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"number": 1}'])
def test_a_record_that_is_not_ours_is_refused(text: str) -> None:
    broken: dict[str, Any] = {"metadata": {"name": "auth-releases"}, "data": {"releases": text}}
    with pytest.raises(Invalid, match="auth-releases is not a release record"):
        _releases.read(broken)


def test_fields_of_a_newer_version_are_passed_over() -> None:
    (entry,) = story(BLUE)
    line = json.dumps({**asdict(entry), "gate": "pass"})
    assert _releases.read({"metadata": {}, "data": {"releases": line}}) == (entry,)


def test_table_is_aligned_with_the_newest_first() -> None:
    head, newest, oldest = _releases.table(story(BLUE, ("green", "1.10.0")))
    assert newest.index("green") == oldest.index("blue") == head.index("slot")
    assert "blue 1.0.0" in newest
