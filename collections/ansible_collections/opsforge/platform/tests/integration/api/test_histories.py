# SPDX-License-Identifier: GPL-3.0-or-later
"""Races that chance finds too seldom, written by hand. `make bench NAME=histories` plays those of chance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _releases
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._releases import Release
from ansible_collections.opsforge.platform.plugins.module_utils._slots import State
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Switch

from .control_plane import ControlPlane
from .histories import Histories, Stage

Fault = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def stage(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> Stage:
    return Stage(cluster, namespace, control_plane, restarts=1)


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
