# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of decisions: nobody's line is lost, and it never outgrows its ConfigMap."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _decisions
from ansible_collections.opsforge.platform.plugins.module_utils._decisions import Decision
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict, Invalid

from .fake_cluster import FakeCluster


def decision(**given: Any) -> Decision:
    """One that passed."""
    return Decision(
        **{
            "number": 0, "time": "2026-01-31T12:00:00Z", "when": "after", "slot": "green", "condition": "errors",
            "query": "q", "outcome": "pass", "verdict": "pass", **given,
        }
    )  # fmt: skip


def write(cluster: FakeCluster, *decisions: Decision, pauses: list[float] | None = None) -> tuple[Decision, ...]:
    sleep = (pauses if pauses is not None else []).append
    return _decisions.append(cluster, "apps", "auth", decisions, manager="test", sleep=sleep)


def kept(cluster: FakeCluster) -> tuple[Decision, ...]:
    return _decisions.read(cluster.get("v1", "ConfigMap", "auth-decisions", "apps"))


def test_written_and_read() -> None:
    cluster = FakeCluster()
    first = write(cluster, decision(), decision(value="+Inf", bounds={"max": 1.0}))
    second = write(cluster, decision(baseline_slot="blue", baseline_value=2))
    assert [found.number for found in first + second] == [1, 2, 3]
    assert kept(cluster) == first + second
    found = cluster.get("v1", "ConfigMap", "auth-decisions", "apps")
    assert found is not None
    assert found["metadata"]["labels"]["opsforge.dev/component"] == "decisions"


class Busy(FakeCluster):
    """Somebody else writes first, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def get(self, *args: Any, **kwargs: Any) -> Any:
        found = super().get(*args, **kwargs)
        if self.times > 0:
            self.times -= 1
            entry = asdict(decision(number=100 - self.times, by="somebody else"))
            before = (found or {"data": {"decisions": ""}})["data"]["decisions"]
            metadata = {"name": "auth-decisions", "namespace": "apps"}
            data = {"decisions": f"{before}{json.dumps(entry)}\n"}
            self.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        return found


def test_a_lost_race_is_run_again_and_keeps_both() -> None:
    cluster, pauses = Busy(3), list[float]()
    write(cluster, decision(by="me"), pauses=pauses)
    assert [(found.number, found.by) for found in kept(cluster)] == [
        (98, "somebody else"),
        (99, "somebody else"),
        (100, "somebody else"),
        (101, "me"),
    ]
    assert len(pauses) == 3


def test_a_race_that_is_always_lost_ends() -> None:
    pauses: list[float] = []
    with pytest.raises(Conflict, match="others wrote the decisions of auth first, 20 times"):
        write(Busy(99), decision(), pauses=pauses)
    assert len(pauses) == 19
    assert sum(pauses) < 20


def test_the_oldest_lines_go() -> None:
    cluster = FakeCluster()
    write(cluster, *[decision()] * 150)
    write(cluster, *[decision()] * 150)
    found = kept(cluster)
    assert (found[0].number, found[-1].number, len(found)) == (101, 300, 200)


def test_long_lines_push_more_of_the_old_ones_out() -> None:
    cluster = FakeCluster()
    write(cluster, *[decision(query="x" * 9_000)] * 200)
    found = cluster.get("v1", "ConfigMap", "auth-decisions", "apps")
    assert found is not None
    assert 450_000 < len(found["data"]["decisions"]) <= 500_000
    assert kept(cluster)[-1].number == 200


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"number": 1}', "[" * 100_000])
def test_a_record_that_is_not_ours_is_refused_and_left_alone(text: str) -> None:
    cluster = FakeCluster()
    metadata = {"name": "auth-decisions", "namespace": "apps"}
    cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"decisions": text}})
    with pytest.raises(Invalid, match="auth-decisions is not a record of decisions"):
        write(cluster, decision())
    assert cluster.writes == []


def test_a_number_that_is_none_is_refused() -> None:
    line = json.dumps(asdict(decision(number="one")))
    with pytest.raises(Invalid, match="not a whole number"):
        _decisions.read({"metadata": {}, "data": {"decisions": line}})


def test_fields_of_a_newer_version_are_passed_over() -> None:
    line = json.dumps({**asdict(decision(number=1)), "colour": "red"})
    assert _decisions.read({"metadata": {}, "data": {"decisions": line}}) == (decision(number=1),)


def test_table_is_aligned_with_the_newest_first() -> None:
    head, newest, oldest = _decisions.table(
        [
            decision(number=1, value=0.123456, bounds={"max": 0.1}, outcome="fail", verdict="fail"),
            decision(number=2, outcome="fail", override_by="ann", override_reason="repair", version="1.1.0"),
        ]
    )
    assert newest.index("errors") == oldest.index("errors") == head.index("condition")
    assert "pass (overridden by ann)" in newest
    assert "0.1235" in oldest
    assert "max=0.1" in oldest
