# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens around it, a switch keeps its promises; and faults that are put into it do not stay hidden.

`make bench NAME=histories` plays 10,000 of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _releases, _traffic
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._releases import Release
from ansible_collections.opsforge.platform.plugins.module_utils._slots import State
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Switch

from . import histories
from .control_plane import ControlPlane
from .histories import Histories, Stage

HISTORIES = 300
# Hypothesis plays some of them again, and those without a run in them do not count.
PLAYED = 480
# A planted fault is found by some history of these.
PATIENCE = 100
Fault = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def stage(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> Stage:
    return Stage(cluster, namespace, control_plane, restarts=1)


def test_histories(stage: Stage) -> None:
    histories.play(stage, count=PLAYED, seed=1)
    assert stage.histories >= HISTORIES


def _without_precondition(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Switch._select

    def select(self: Switch, state: State, chosen: dict[str, str]) -> None:
        honest(self, replace(state, resource_version=""), chosen)

    monkeypatch.setattr(Switch, "_select", select)


def _numbered_by_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def append(cluster: Cluster, namespace: str, service: str, release: Release, *, manager: str) -> None:
        found = cluster.get("v1", "ConfigMap", _releases.name(service), namespace)
        number = len(_releases.read(found))
        honest(cluster, namespace, service, replace(release, number=number + 1), manager=manager)

    honest = _releases.append
    monkeypatch.setattr(_releases, "append", append)


def _without_a_look_at_the_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_traffic, "_enough", lambda *_: True)


def _recorded_before_it_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Switch._switch

    def switch(self: Switch, state: State, slot: str) -> None:
        self._record(replace(state, active=slot))
        honest(self, state, slot)

    monkeypatch.setattr(Switch, "_switch", switch)


def _emptied_before_it_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Switch._switch

    def switch(self: Switch, state: State, slot: str) -> None:
        self._patch("v1", "Service", self.service, {"spec": {"selector": None}})
        honest(self, self._read(), slot)

    monkeypatch.setattr(Switch, "_switch", switch)


def _stopped_before_traffic_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Switch._switch

    def switch(self: Switch, state: State, slot: str) -> None:
        if state.serving:
            body = {"spec": {"replicas": 0}}
            self._patch("apps/v1", "Deployment", f"{self.service}-{state.active}", body, subresource="scale")
        honest(self, state, slot)

    monkeypatch.setattr(Switch, "_switch", switch)


@pytest.mark.parametrize(
    "fault, words",
    [
        (_without_a_look_at_the_pods, "no endpoint|moved traffic to .* ready of"),
        (_recorded_before_it_is_true, "recorded what did not happen"),
        (_emptied_before_it_is_filled, "no endpoint"),
        (_stopped_before_traffic_has_left, "shrank .* with traffic on it"),
    ],
)
def test_a_planted_fault_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch, fault: Fault, words: str) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=words):
        histories.play(stage, count=PATIENCE, seed=1, shrink=False)


@pytest.mark.parametrize("is_honest", [True, False])
@pytest.mark.parametrize(
    "fault, rival, bursts, words",
    [
        pytest.param(
            _without_precondition,
            ["green", "blue"],
            # The first stops before it points the preview at green, and then before it moves traffic.
            ["write", 1, "write", "end"],
            "somebody else had moved",
            id="moved there and back since the look",
        ),
        pytest.param(
            _numbered_by_what_was_seen,
            ["green"],
            # The first stops before each look at the record; the last one is to write it.
            [*["record", 1] * 5, "record", "end"],
            "recorded one move twice",
            id="recorded since the look",
        ),
    ],
)
def test_a_race_written_by_hand(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    rival: list[str],
    bursts: list[int | str],
    words: str,
    is_honest: bool,
) -> None:
    """What chance finds too seldom: the switch comes through, and the same one with a fault does not."""
    if not is_honest:
        fault(monkeypatch)
    monkeypatch.setattr(Histories, "stage", stage, raising=False)
    history = Histories()
    history.begin(slots=2, released=False, size=2)
    with nullcontext() if is_honest else pytest.raises(AssertionError, match=words):
        history.race("green", rival, keep=None, come=True, bursts=bursts, troubles={})
    if is_honest:
        assert [entry["slot"] for entry in history.ledger.entries] == ["blue", *rival]
