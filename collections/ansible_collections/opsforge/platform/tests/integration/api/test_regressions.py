# SPDX-License-Identifier: GPL-3.0-or-later
"""Outages that others had, played with our switch: named by the issue that tells of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish as ApplyWish
from ansible_collections.opsforge.platform.plugins.module_utils._apply import ensure_present
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Options, Switch
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Wish

from .histories import Stage
from .ledger import Run
from .line import Killed, Line, Troubles

CRASHING = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "False"}],
    "containerStatuses": [
        {
            "name": "auth",
            "image": "auth:bad",
            "imageID": "",
            "ready": False,
            "restartCount": 9,
            "state": {
                "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}
            },
        }
    ],
}


@pytest.fixture
def stage(cluster: Cluster, namespace: str) -> Stage:
    return Stage(cluster, namespace)


def move(stage: Stage, wish: Wish, troubles: Troubles | None = None) -> Run:
    """One run of the switch; the ledger judges what it writes."""
    run = stage.ledger.open("the operator", wish)
    line = Line(stage.pool, stage, stage.ledger, run, stage.past, troubles or {})
    options = Options(timeout=5, by="somebody")
    try:
        Switch(Cluster(line), stage.shop.namespace, stage.shop.service, options, stage.clock(run)).run(wish)
        run.end = "done"
    except Killed:
        run.end = "killed"
    except PlatformError as error:
        run.end = str(error)
    stage.ledger.close()
    assert stage.ledger.violations == []
    return run


def deploy(stage: Stage, slot: str, version: str, ready: int = 2) -> None:
    stage.shop.deploy(slot, version, 2, ready)
    stage.ledger.deployed(slot, version, 2)


def crash(stage: Stage, slot: str) -> None:
    """The pods of a slot crash whenever they start."""
    for number in range(2):
        name, namespace = f"auth-{slot}-{number}", stage.shop.namespace
        stage.shop.cluster.patch("v1", "Pod", name, namespace, {"status": CRASHING}, subresource="status")


def endpoints(stage: Stage) -> int:
    """How many pods would take the next request."""
    state = _slots.read(stage.shop.cluster, stage.shop.namespace, stage.shop.service)
    return state.serving.ready if state.serving else 0


def test_argo_rollouts_4750_a_release_that_crashes_again_and_again_leaves_the_selector_alone(stage: Stage) -> None:
    """There, the selector of the active Service became empty while the second bad revision was on its way.

    A stable version, one bad revision and then another one, reconciled many times, applied by GitOps in between.
    """
    stage.come = False
    deploy(stage, "blue", "1.0.0")
    assert move(stage, Wish(slot="blue")).end == "done"
    service = stage.shop.object("v1", "Service", "auth", spec={"ports": [{"name": "http", "port": 80}]})
    for version in ("1.1.0", "1.2.0"):
        deploy(stage, "green", version, ready=0)
        crash(stage, "green")
        for wish in (
            Wish(version=version),
            Wish(slot="green", check=False),
            Wish(slot="green", patient=False, check=False),
        ):
            run = move(stage, wish)
            assert "stays on blue" in run.end, run
            assert "CrashLoopBackOff" in run.end or not wish.patient, run
            assert "move" not in run.writes
            ensure_present(stage.shop.cluster, [service], ApplyWish(manager="opsforge-service"))
            assert endpoints(stage) == 2
    found = stage.shop.cluster.get("v1", "Service", "auth", stage.shop.namespace)
    assert found is not None
    assert found["spec"]["selector"] == _slots.selector("auth", "blue")


@pytest.mark.parametrize("trouble", ["killed before", "killed after", "unreachable", "unanswered", "edited"])
@pytest.mark.parametrize("call", range(1, 8))
def test_argo_rollouts_2235_nothing_is_scaled_down_before_traffic_has_left_it(
    stage: Stage, call: int, trouble: str
) -> None:
    """There, the old pods were scaled to zero and the selector was switched minutes later.

    Whatever befalls whichever write, no pod goes from under the traffic (the ledger sees to that), and the selector is
    written before any size, by this run and by the one that finishes it.
    """
    deploy(stage, "blue", "1.0.0")
    deploy(stage, "green", "1.1.0")
    assert move(stage, Wish(slot="blue")).end == "done"
    wish = Wish(slot="green", keep_seconds=0)
    writes: list[str] = []
    for troubles in ({f"write {call}": trouble}, {}):
        run = move(stage, wish, troubles)
        writes += run.writes
        assert endpoints(stage) == 2
    assert run.end == "done"
    assert stage.ledger.sizes == {"blue": 0, "green": 2}
    assert writes.count("move") == writes.count("size") == 1
    assert writes.index("move") < writes.index("size")


def test_argo_rollouts_2235_a_switch_that_never_comes_keeps_the_old_pods(stage: Stage) -> None:
    deploy(stage, "blue", "1.0.0")
    deploy(stage, "green", "1.1.0")
    assert move(stage, Wish(slot="blue")).end == "done"
    stage.come = False
    stage.pods("green", 1)
    wish = Wish(slot="green", keep_seconds=0)
    for _ in range(3):
        stage.now += 600
        assert "stays on blue" in move(stage, wish).end
        assert "stays on blue" in move(stage, replace(wish, patient=False, check=False)).end
        assert endpoints(stage) == 2
    assert stage.ledger.sizes == {"blue": 2, "green": 2}
