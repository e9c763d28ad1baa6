# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a version goes, and what counts as ready."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from ansible_collections.opsforge.platform.plugins.module_utils._slots import Slot, State

BLUE, GREEN = Slot("blue", "1.0.0"), Slot("green", "1.1.0")


def state(active: str | None, *slots: Slot) -> State:
    return State("auth", "apps", active=active, slots={slot.name: slot for slot in slots})


@pytest.mark.parametrize(
    "now, wish, target, versions",
    [
        pytest.param(state(None), {"first": "1.0.0"}, "blue", {"blue": "1.0.0"}, id="the very first"),
        pytest.param(state(None), {"version": "1.1.0"}, "blue", {"blue": "1.1.0"}, id="a release as the first"),
        pytest.param(state(None, BLUE), {"first": "1.0.1"}, "blue", {"blue": "1.0.1"}, id="the first did not work"),
        pytest.param(state("blue", BLUE), {"first": "2.0.0"}, "blue", {"blue": "1.0.0"}, id="a site run keeps all"),
        pytest.param(
            state("green", BLUE, GREEN),
            {"first": "2.0.0"},
            "green",
            {"blue": "1.0.0", "green": "1.1.0"},
            id="a site run keeps the old slot, too",
        ),
        pytest.param(
            state("blue", BLUE), {"version": "1.1.0"}, "green", {"blue": "1.0.0", "green": "1.1.0"}, id="a release"
        ),
        pytest.param(
            state("green", BLUE, GREEN),
            {"version": "1.2.0"},
            "blue",
            {"blue": "1.2.0", "green": "1.1.0"},
            id="a release over the oldest",
        ),
        pytest.param(
            state("green", BLUE, GREEN),
            {"version": "1.0.0"},
            "blue",
            {"blue": "1.0.0", "green": "1.1.0"},
            id="the kept version again",
        ),
        pytest.param(state("blue", BLUE), {"version": "1.0.0"}, "blue", {"blue": "1.0.0"}, id="what already serves"),
    ],
)
def test_where_a_version_goes(now: State, wish: dict[str, str], target: str, versions: dict[str, str]) -> None:
    assert _slots.placed(now, **wish) == (target, versions)


READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    "status, settled",
    [
        pytest.param({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}, True, id="all of one template"),
        pytest.param({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2}, False, id="a stale status"),
        pytest.param({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2}, False, id="an old pod left"),
        pytest.param({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}, False, id="pods still to come"),
        pytest.param({}, False, id="not seen by the controller"),
    ],
)
def test_settled(status: dict[str, Any], settled: bool) -> None:
    found = {
        "metadata": {"name": "auth-blue", "generation": 2},
        "spec": {"replicas": 2, "template": {"metadata": {}, "spec": {"containers": [{"image": "i"}]}}},
        "status": status,
    }
    assert _slots._slot("blue", found, []).settled is settled


@pytest.mark.parametrize(
    "pod, ready, names",
    [
        ({"metadata": {"name": "p"}, "status": {"conditions": [READY]}}, 1, ("p",)),
        ({"metadata": {"name": "p"}, "status": {"conditions": [{**READY, "status": "False"}]}}, 0, ("p",)),
        ({"metadata": {"name": "p"}}, 0, ("p",)),
        ({"metadata": {"name": "p", "deletionTimestamp": "t"}, "status": {"conditions": [READY]}}, 0, ()),
    ],
    ids=["ready", "not ready", "just created", "on its way out"],
)
def test_a_pod_counts_while_it_takes_requests(pod: dict[str, Any], ready: int, names: tuple[str, ...]) -> None:
    found = {"metadata": {}, "spec": {"template": {"spec": {"containers": [{"image": "i"}]}}}}
    slot = _slots._slot("blue", found, [pod])
    assert (slot.ready, slot.pods) == (ready, names)


class Counted:
    """A Service that selects nothing yet, with a Deployment for each slot; keeps what a list must not be older than."""

    def __init__(self, **versions: str) -> None:
        self.versions, self.since = versions, ""

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        if kind == "Service":
            return {"metadata": {}, "spec": {}}
        slot = name.removeprefix("auth-")
        if kind != "Deployment" or slot not in self.versions:
            return None
        spec = {"template": {"spec": {"containers": [{"image": "i"}]}}}
        return {"metadata": {"name": name, "resourceVersion": self.versions[slot]}, "spec": spec}

    def list(self, *args: Any, since: str = "", **kwargs: Any) -> list[dict[str, Any]]:
        self.since = since
        return []


def test_pods_are_no_older_than_the_deployments_that_count_them() -> None:
    cluster = Counted(blue="99", green="101")
    assert set(_slots.read(cluster, "apps", "auth").slots) == {"blue", "green"}
    assert cluster.since == "101"
