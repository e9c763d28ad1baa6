# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic moves only to a slot that can take it, and a second look never changes the goal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _traffic
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._releases import Release
from ansible_collections.opsforge.platform.plugins.module_utils._slots import Slot, State
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Step, Wish

BLUE = Slot("blue", "1.0.0", "auth:1.0.0", replicas=2, ready=2, pods=("blue-0", "blue-1"))
GREEN = Slot("green", "1.1.0", "auth:1.1.0", replicas=2, ready=2, pods=("green-0", "green-1"))
FIRST = Release(1, "t", "release", "blue", "1.0.0")
SECOND = Release(2, "t", "release", "green", "1.1.0", from_slot="blue", from_version="1.0.0")
BACK = Release(3, "t", "rollback", "blue", "1.0.0", from_slot="green", from_version="1.1.0")


def state(*slots: Slot, active: str | None = "blue", scaled: str | None = None, history: Any = (FIRST,)) -> State:
    """A service that serves 1.0.0 from blue, unless told otherwise."""
    return State(
        "auth", "apps", "7", active, {slot.name: slot for slot in slots or (BLUE, GREEN)}, scaled or active, history
    )


KEPT = replace(SECOND, time="1970-01-01T00:16:40Z")
MANY, SO_MANY = replace(BLUE, replicas=101, ready=101), replace(GREEN, replicas=101, ready=101)
TO_GREEN = Wish(slot="green", version="1.1.0")
SEEN = replace(TO_GREEN, check=False)
ROLLBACK = Wish(slot="blue", version="1.0.0", patient=False, check=False)
WORKER = replace(SEEN, keep_seconds=0)
DIGEST, OTHER = f"sha256:{1:064}", f"sha256:{2:064}"
PINNED = replace(GREEN, image=f"auth:1.1.0@{DIGEST}")


@pytest.mark.parametrize(
    "now, wish, step",
    [
        pytest.param(state(), TO_GREEN, Step("check", "green"), id="ready, not yet seen answering"),
        pytest.param(state(), SEEN, Step("switch", "green"), id="ready and seen"),
        pytest.param(
            state(replace(BLUE, replicas=5), GREEN), TO_GREEN, Step("size", "green", 5), id="as large as the live one"
        ),
        pytest.param(
            state(BLUE, GREEN), replace(TO_GREEN, replicas_min=3), Step("size", "green", 3), id="as large as asked for"
        ),
        pytest.param(
            state(BLUE, replace(GREEN, replicas=9, ready=9)), SEEN, Step("switch", "green"), id="larger is no obstacle"
        ),
        pytest.param(state(BLUE, replace(GREEN, ready=1)), SEEN, Step("wait", "green", 2), id="one pod missing"),
        pytest.param(state(BLUE, replace(GREEN, settled=False)), SEEN, Step("wait", "green", 2), id="still rolling"),
        pytest.param(
            state(replace(BLUE, ready=1), GREEN, active="green", history=(FIRST, SECOND)),
            replace(ROLLBACK, ready_percent=50),
            Step("switch", "blue"),
            id="half is enough for a rollback that asks for half",
        ),
        pytest.param(
            state(BLUE, replace(GREEN, ready=1)),
            replace(SEEN, ready_percent=50),
            Step("wait", "green", 2),
            id="a release waits for all of it",
        ),
        pytest.param(
            state(replace(BLUE, replicas=0, ready=0), GREEN, active="green", history=(FIRST, SECOND)),
            ROLLBACK,
            Step("size", "blue", 2),
            id="back to a slot that was stopped",
        ),
        pytest.param(
            state(replace(BLUE, replicas=0, ready=1), GREEN, active="green", history=(FIRST, SECOND)),
            ROLLBACK,
            Step("size", "blue", 2),
            id="back to a slot whose pods are on their way out",
        ),
        pytest.param(
            state(replace(BLUE, ready=1), GREEN, active="green", history=(FIRST, SECOND)),
            replace(ROLLBACK, ready_percent=50, sized=True),
            Step("wait", "blue", 2),
            id="who asked for the pods waits for all of them",
        ),
        pytest.param(
            state(MANY, SO_MANY, active="green", history=(FIRST, SECOND)),
            replace(ROLLBACK, sized=True),
            Step("switch", "blue"),
            id="and goes back in one step all the same",
        ),
        pytest.param(
            state(active="green", history=(FIRST, SECOND)),
            replace(SEEN, moved=True),
            Step("drain", "green"),
            id="back from between two slots, as the record has it",
        ),
        pytest.param(
            state(active="green", history=(FIRST, SECOND)),
            replace(SEEN, moved=True, drain=False),
            Step("done", "green"),
            id="and told so",
        ),
        pytest.param(state(active=None, history=()), SEEN, Step("switch", "green"), id="no traffic yet"),
        pytest.param(state(active="green", scaled="blue"), SEEN, Step("aim", "green"), id="killed after the write"),
        pytest.param(state(active="green"), SEEN, Step("drain", "green"), id="killed before the drain"),
        pytest.param(
            state(active="green"), replace(SEEN, drain=False), Step("record", "green"), id="killed before the record"
        ),
        pytest.param(
            state(active="green", history=(FIRST, SECOND)), TO_GREEN, Step("done", "green"), id="already there"
        ),
        pytest.param(
            state(BLUE, replace(GREEN, settled=False), active="green", history=(FIRST, SECOND)),
            TO_GREEN,
            Step("wait", "green", 2),
            id="already there, with a new template on its way",
        ),
        pytest.param(
            state(replace(BLUE, ready=0), GREEN, active="blue", history=(FIRST, SECOND, BACK)),
            ROLLBACK,
            Step("done", "blue"),
            id="already back, ready or not",
        ),
        pytest.param(
            state(active="green", history=(FIRST, SECOND)), ROLLBACK, Step("switch", "blue"), id="rollback is one write"
        ),
        pytest.param(
            state(BLUE, replace(GREEN, replicas=9, ready=0), active="green", history=(FIRST, SECOND)),
            ROLLBACK,
            Step("switch", "blue"),
            id="rollback needs nothing of the bad slot",
        ),
        pytest.param(
            state(BLUE, GREEN, active="green", history=(FIRST, SECOND)),
            WORKER,
            Step("rest", "blue"),
            id="what takes its work itself may not stay beside the other: announced",
        ),
        pytest.param(
            replace(state(BLUE, GREEN, active="green", history=(FIRST, SECOND)), resting="blue"),
            WORKER,
            Step("stop", "blue"),
            id="and done",
        ),
        pytest.param(
            state(BLUE, replace(GREEN, ready=0)),
            replace(WORKER, slot="blue", version="1.0.0"),
            Step("rest", "green"),
            id="nor may what a release that failed left behind",
        ),
        pytest.param(state(BLUE, GREEN), WORKER, Step("switch", "green"), id="it stays until the other is at work"),
        pytest.param(
            state(BLUE, GREEN, active="green", history=(FIRST, KEPT)),
            replace(SEEN, keep_seconds=60, now=1059),
            Step("done", "green"),
            id="kept for the time that is left",
        ),
        pytest.param(
            state(BLUE, GREEN, active="green", history=(FIRST, KEPT)),
            replace(SEEN, keep_seconds=60, now=1060),
            Step("rest", "blue"),
            id="kept long enough",
        ),
        pytest.param(
            state(replace(BLUE, version="1.2.0"), GREEN, active="green", history=(FIRST, KEPT)),
            replace(SEEN, keep_seconds=60, now=9999),
            Step("done", "green"),
            id="what comes next is not what was kept",
        ),
        pytest.param(
            state(replace(BLUE, replicas=0, ready=0), GREEN, active="green", history=(FIRST, SECOND)),
            ROLLBACK,
            Step("size", "blue", 2),
            id="a way back to pods that were stopped brings them back",
        ),
        pytest.param(
            state(replace(BLUE, ready=0), GREEN, active="green", history=(FIRST, SECOND)),
            replace(ROLLBACK, ready_percent=0),
            Step("wait", "blue", 2),
            id="no endpoint is never enough, and is waited for",
        ),
        pytest.param(
            replace(state(BLUE, GREEN, active="green", history=(FIRST, SECOND)), resting="blue"),
            ROLLBACK,
            Step("wake", "blue"),
            id="somebody is about to stop it: touched before it gets traffic",
        ),
        pytest.param(
            replace(state(BLUE, GREEN, active="green", history=(FIRST, SECOND)), resting="blue"),
            replace(ROLLBACK, woke=True),
            Step("switch", "blue"),
            id="touched, and then switched to",
        ),
        pytest.param(
            state(BLUE, GREEN, active="green", history=(FIRST,)),
            ROLLBACK,
            Step("record", "green"),
            id="a move that was not recorded is, before the next",
        ),
        pytest.param(state(), replace(SEEN, prepare=True), Step("done", "green"), id="prepared is done"),
        pytest.param(state(MANY, SO_MANY), SEEN, Step("overlap", "green"), id="more endpoints than go into one slice"),
        pytest.param(
            replace(state(MANY, SO_MANY), overlapping=True, spread={"blue": 101, "green": 99}),
            SEEN,
            Step("spread", "green", 101),
            id="not all of them are known yet",
        ),
        pytest.param(
            replace(state(MANY, SO_MANY), overlapping=True, spread={"blue": 101, "green": 101}),
            SEEN,
            Step("switch", "green"),
            id="all of them are",
        ),
        pytest.param(
            replace(state(MANY, SO_MANY), overlapping=True, spread={"blue": 101, "green": 99}),
            ROLLBACK,
            Step("switch", "blue"),
            id="back from between two slots in one write",
        ),
        pytest.param(
            replace(state(), overlapping=True, canary="green"),
            replace(SEEN, slot="blue", version="1.0.0"),
            Step("done", "blue"),
            id="a canary is not ended by staying",
        ),
    ],
)
def test_one_next_step(now: State, wish: Wish, step: Step) -> None:
    assert _traffic.plan(now, wish) == step


@pytest.mark.parametrize(
    "now, wish, words",
    [
        pytest.param(state(BLUE), TO_GREEN, "slot green of auth has no Deployment auth-green", id="no such slot"),
        pytest.param(
            state(BLUE, replace(GREEN, version="1.2.0")), TO_GREEN, "holds version 1.2.0, not 1.1.0", id="other version"
        ),
        pytest.param(
            state(BLUE, PINNED),
            replace(TO_GREEN, digest=OTHER),
            f"holds version 1.1.0 {DIGEST}, not 1.1.0 {OTHER}",
            id="other content under the same name",
        ),
        pytest.param(
            state(replace(BLUE, ready=1), GREEN, active="green", history=(FIRST, SECOND)),
            ROLLBACK,
            r"not ready \(1 of 2 pods\): traffic stays on green",
            id="rollback to an unready slot",
        ),
    ],
)
def test_refusal(now: State, wish: Wish, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        _traffic.plan(now, wish)


@pytest.mark.parametrize(
    "now, wish, slot",
    [
        pytest.param(state(), Wish(version="1.1.0"), "green", id="the slot that holds the version"),
        pytest.param(
            state(BLUE, replace(GREEN, version="1.0.0"), active="green"),
            Wish(version="1.0.0"),
            "green",
            id="the slot in use, if both do",
        ),
        pytest.param(
            state(active="green", history=(FIRST, SECOND)), Wish(previous=True), "blue", id="what the release replaced"
        ),
        pytest.param(
            state(active="blue", history=(FIRST, SECOND, BACK)),
            Wish(previous=True),
            "blue",
            id="a second rollback stays where the first one went",
        ),
        pytest.param(
            state(active="green", history=(FIRST,)),
            Wish(previous=True),
            "blue",
            id="what a release replaced that was killed before its record",
        ),
        pytest.param(
            state(replace(BLUE, version="1.2.0"), GREEN, history=(FIRST, SECOND)),
            Wish(previous=True),
            "green",
            id="the same, later",
        ),
        pytest.param(
            state(history=(FIRST, SECOND)),
            Wish(previous=True),
            "blue",
            id="a rollback that was killed before its record",
        ),
        pytest.param(state(BLUE, PINNED), Wish(digest=DIGEST), "green", id="the slot that holds the content"),
        pytest.param(replace(state(), overlapping=True), Wish(previous=True), "blue", id="back from between two slots"),
    ],
)
def test_pinned_slot(now: State, wish: Wish, slot: str) -> None:
    assert _traffic.pin(now, wish).slot == slot


@pytest.mark.parametrize(
    "now, wish, words",
    [
        pytest.param(state(), Wish(version="9"), r"no slot of auth holds version 9 \(slots: blue 1.0.0, green 1.1.0\)"),
        pytest.param(
            state(BLUE, PINNED), Wish(digest=OTHER), f"no slot of auth holds image {OTHER} .*blue 1.0.0 without"
        ),
        pytest.param(state(BLUE, PINNED), Wish(version="1.0.0", digest=DIGEST), "no slot of auth holds version 1.0.0"),
        pytest.param(state(), Wish(previous=True), "no earlier release of auth"),
        pytest.param(state(history=()), Wish(previous=True), "no earlier release of auth"),
        pytest.param(
            state(replace(BLUE, version="1.2.0"), GREEN, active="green", history=(FIRST, SECOND)),
            Wish(previous=True),
            r"1.0.0 of auth is no longer kept \(slot blue holds 1.2.0 now\): .* -e version=1.0.0",
        ),
        pytest.param(
            state(GREEN, active="green", history=(FIRST, SECOND)), Wish(previous=True), r"\(slot blue is gone\)"
        ),
    ],
)
def test_a_goal_that_does_not_exist(now: State, wish: Wish, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        _traffic.pin(now, wish)
