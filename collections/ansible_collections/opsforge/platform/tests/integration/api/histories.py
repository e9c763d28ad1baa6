# SPDX-License-Identifier: GPL-3.0-or-later
"""Random histories of one service: releases and rollbacks by the real switch, while everything around it goes wrong.

The API server is real; this plays controllers, kubelet, autoscaler, a second operator, and the clock. The ledger judges
each write. Whatever happened, running the last wish again ends where it should.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import hypothesis
from hypothesis import HealthCheck, Phase, currently_in_test_context, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ansible_collections.opsforge.platform.plugins.module_utils import _slots, _traffic
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound, PlatformError, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._http import Pool
from ansible_collections.opsforge.platform.plugins.module_utils._slots import SLOTS, other
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Options, Switch
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Wish

from .control_plane import ControlPlane
from .ledger import Ledger, Place, Run
from .line import READ_TROUBLES, WRITE_TROUBLES, Killed, Line, Past, Troubles, Turn, Turns
from .shop import Shop

STEPS = 5
_OPTIONS = Options(timeout=0.5, interval=0.2, by="somebody")
_API_VERSIONS = {"deployments": "apps/v1", "horizontalpodautoscalers": "autoscaling/v2"}
_KINDS = {
    "services": "Service",
    "configmaps": "ConfigMap",
    "deployments": "Deployment",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
}


class Stage:
    """Where histories take place, one after the other: a service, its pods, and the time."""

    def __init__(self, cluster: Cluster, namespace: str, plane: ControlPlane | None = None, restarts: int = 0) -> None:
        self.shop = Shop(cluster, namespace)
        self.pool: Pool = cluster._pool
        self._plane = plane
        self._is_down = False
        self.begin(restarts)
        self.clear()

    def begin(self, restarts: int) -> None:
        """Count anew; so many times the API server may die for real."""
        self._restarts = restarts
        self.runs = 0
        # The histories, with a run in them, that came to their end: Hypothesis plays some of them again.
        self.ended: set[str] = set()

    @property
    def histories(self) -> int:
        """How many different histories came to their end."""
        return len(self.ended)

    def clear(self) -> None:
        """Be as new."""
        self.shop.clear()
        self.ledger, self.past = Ledger(self.shop.service), Past()
        self.now = 1_700_000_000.0
        self.come = True
        self._edits = 0

    def clock(self, run: Run) -> Clock:
        """The time of the play, for a run that may wait."""

        def sleep(seconds: float) -> None:
            run.is_fresh = False
            self.sleep(seconds)

        return Clock(lambda: self.now, lambda: self.now, sleep)

    def sleep(self, seconds: float) -> None:
        """Whoever waits gives the others time to work: controllers see what is wanted, and pods may come."""
        self.now += seconds
        for slot in self.ledger.versions:
            if self.come:
                self.pods(slot)
            else:
                self.pods(slot, sum(self.shop.pods[slot]), slot in self.shop.rolling)
        if self.come and len(self.ledger.selected) > 1:
            self.shop.spread(SLOTS)

    def pods(self, slot: str, ready: int | None = None, rolling: bool = False) -> None:
        """Let so many pods of a slot be ready. One that fails or goes knows of no drain when it is there again."""
        self.shop.run(slot, ready, rolling=rolling)
        self.ledger.draining.difference_update([pod for pod in self._told(slot) if not self.answers(pod)])

    def scale(self, size: int) -> None:
        """The autoscaler wants so many pods in the slot that it follows; it leaves one with none alone."""
        slot = self.ledger.scaled
        if self.ledger.sizes.get(slot):
            self.shop.scale(slot, size)
            self.ledger.sizes[slot] = size

    def happen(self, what: str, kind: str, name: str) -> None:
        """See `line.EVENTS`."""
        if what == "restart":
            self._crash()
        elif what == "scaled":
            self.scale(self.ledger.sizes.get(self.ledger.scaled, 0) % 3 + 1)
        elif what == "edited":
            self.edit(kind, name)
        elif what.split()[0] in self.ledger.versions:
            self.pods(what.split()[0], 0)

    def edit(self, kind: str = "services", name: str = "") -> None:
        """Somebody writes an annotation that is no business of ours."""
        if kind not in _KINDS or not name:
            kind, name = "services", self.shop.service
        self._edits += 1
        body = {"metadata": {"annotations": {"edited": str(self._edits)}}}
        with contextlib.suppress(NotFound):
            version = _API_VERSIONS.get(kind, "v1")
            self.shop.cluster.patch(version, _KINDS[kind], name, self.shop.namespace, body)

    def answers(self, pod: str) -> bool:
        """A pod answers while it is ready."""
        return any(
            is_ready and pod == self._pod(slot, number)
            for slot, pods in self.shop.pods.items()
            for number, is_ready in enumerate(pods)
        )

    def drained(self, slot: str) -> list[str]:
        """Pods of a slot that close their connections."""
        return [pod for pod in self._told(slot) if self.answers(pod)]

    def _told(self, slot: str) -> list[str]:
        return [pod for pod in self.ledger.draining if pod.startswith(f"{self.shop.service}-{slot}-")]

    def _pod(self, slot: str, number: int) -> str:
        return f"{self.shop.service}-{slot}-{number}"

    def _crash(self) -> None:
        """The API server dies, for real as long as there is time for that."""
        if not self._plane or not self._restarts:
            raise Unreachable("the API server cannot be reached: connection refused")
        self._restarts -= 1
        self._is_down = True
        self._plane.crash_api()

    def restore(self) -> None:
        """The API server is back."""
        if self._is_down and self._plane:
            self._plane.restart_api()
            self._is_down = False


def _troubles(kind: str, calls: int, troubles: Sequence[str]) -> st.SearchStrategy[tuple[str, str]]:
    numbers = st.integers(1, calls).map(lambda number: f"{kind} {number}")
    return st.tuples(numbers, st.sampled_from(troubles))


TROUBLES = st.lists(
    _troubles("write", 6, WRITE_TROUBLES) | _troubles("read", 24, READ_TROUBLES) | st.just(("drain", "killed")),
    max_size=2,
).map(dict)
READY = st.sampled_from(["all", "all", "some", "none", "rolling"])
COME = st.sampled_from([True, True, False])
BURSTS = st.lists(st.sampled_from(["write", "record", "end", 1]) | st.integers(1, 24), min_size=1, max_size=6)
WISHES = st.sampled_from(["blue", "green", "version in blue", "version in green", "previous"])
KEEP = st.sampled_from([None, None, 0, 500])


class Histories(RuleBasedStateMachine):
    """One history; `stage` is set by `play`."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.stage.clear()
        self.ledger = self.stage.ledger
        self.releases = 0
        self.last: str | None = None
        self.is_sound = False
        self.ran = 0
        self.steps: list[Any] = []

    @initialize(slots=st.integers(0, 2), released=st.booleans(), size=st.integers(1, 3))
    def begin(self, slots: int, released: bool, size: int) -> None:
        """Nothing, one version or two, and the newest of them released or not."""
        self.is_sound = True
        for slot in SLOTS[:slots]:
            self.deploy(slot, size, "all")
            if slot != SLOTS[slots - 1] or released:
                self.move(slot, None, False, True, {})

    @rule(slot=st.sampled_from(SLOTS), size=st.integers(1, 3), ready=READY)
    def deploy(self, slot: str, size: int, ready: str) -> None:
        """A new version comes into the slot without traffic."""
        if slot in self.ledger.selected:
            slot = other(slot)
        if slot in self.ledger.selected:
            return  # traffic is on both
        with self._step("deploy", slot, size, ready):
            self.releases += 1
            version = f"1.{self.releases}.0"
            for number in range(len(self.stage.shop.pods[slot])):
                self.ledger.draining.discard(self.stage._pod(slot, number))
            self.stage.shop.deploy(slot, version, size, {"some": size - 1, "none": 0}.get(ready))
            if ready == "rolling":
                self.stage.pods(slot, rolling=True)
            self.ledger.deployed(slot, version, size)

    @rule(slot=st.sampled_from(SLOTS), ready=st.integers(0, 3), rolling=st.booleans())
    def pods(self, slot: str, ready: int, rolling: bool) -> None:
        """Pods get ready, or unready."""
        if slot in self.ledger.versions:
            with self._step("pods", slot, ready, rolling):
                self.stage.pods(slot, ready, rolling)

    @rule(what=st.sampled_from(["scale to 1", "scale to 4", "edit", "wait 100", "wait 1000", "lose idle"]))
    def around(self, what: str) -> None:
        """What else happens: the autoscaler works, somebody edits the Service or deletes the idle slot, time passes."""
        with self._step("around", what):
            if what.startswith("scale"):
                self.stage.scale(int(what.split()[-1]))
            elif what.startswith("wait"):
                self.stage.now += int(what.split()[-1])
            elif what == "edit":
                self.stage.edit()
            elif self.ledger.traffic and len(self.ledger.selected) == 1:
                slot = other(self.ledger.traffic.slot)
                self.stage.shop.remove(slot)
                self.ledger.removed(slot)

    @rule(to=WISHES, keep=KEEP, hasty=st.booleans(), come=COME, troubles=TROUBLES)
    def move(self, to: str, keep: float | None, hasty: bool, come: bool, troubles: Troubles) -> None:
        """An operator moves traffic."""
        wish = self._wish(to, keep, hasty)
        if wish:
            with self._step("move", to, keep, hasty, come, troubles):
                self.last = to
                self._alone(wish, come, troubles)

    @rule(come=COME, troubles=TROUBLES)
    def rollback(self, come: bool, troubles: Troubles) -> None:
        self.move("previous", None, True, come, troubles)

    @rule(
        to=WISHES,
        rival=st.lists(WISHES, min_size=1, max_size=2),
        keep=KEEP,
        come=COME,
        bursts=BURSTS,
        troubles=TROUBLES,
    )
    def race(
        self, to: str, rival: list[str], keep: float | None, come: bool, bursts: list[int | str], troubles: Troubles
    ) -> None:
        """Two operators at once, the second one with one wish after the other; the troubles are the first one's."""
        first, *others = (self._wish(one, keep, one == "previous") for one in (to, *rival))
        wishes = [wish for wish in others if wish]
        if first and wishes:
            with self._step("race", to, rival, keep, come, bursts, troubles):
                self.last = rival[-1]
                self._together(first, wishes, come, bursts, troubles)

    def teardown(self) -> None:
        if self.is_sound:
            with self._step("end"):
                self._converge()
            if self.ran:
                self.stage.ended.add(repr(self.steps))

    # -- inside -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _step(self, *what: Any) -> Iterator[None]:
        """After each step everything holds; after one that did not, nothing more is asked."""
        was_sound, self.is_sound = self.is_sound, False
        self.steps.append(what)
        yield
        self.stage.restore()
        self.stage.shop.unspread()
        assert not self.ledger.violations, "\n".join(self.ledger.violations)
        self.is_sound = was_sound

    def _wish(self, to: str, keep: float | None, hasty: bool) -> Wish | None:
        wish = Wish(patient=not hasty, check=not hasty, keep_seconds=keep)
        if to == "previous":
            return replace(wish, previous=True)
        if to in SLOTS:
            return replace(wish, slot=to)
        version = self.ledger.versions.get(to.split()[-1])
        return replace(wish, version=version) if version else None

    def _alone(self, wish: Wish, come: bool, troubles: Troubles) -> None:
        self.stage.come = come
        # Check mode counts a slot that is not there as one that an earlier task would have made.
        is_told = not troubles and wish.slot in (None, *self.ledger.versions)
        foretold = self._foretell(wish) if is_told else None
        expected = None if troubles else self._expected(wish, come)
        run = self.ledger.open("the operator", wish)
        shop = self.stage.shop
        was_ready = expected is not None and shop.is_ready(expected.slot) and not shop.is_stopped(expected.slot)
        was_there = bool(expected) and self.ledger.traffic == expected and len(self.ledger.selected) == 1
        switch = self._run(run, troubles)
        self._close()
        if foretold is not None:
            self._compare(run, switch, *foretold)
        if expected:
            self._hold(run.end == "done" and self.ledger.traffic == expected, run, f"did not arrive at {expected}")
        if expected and wish.previous and was_ready and not wish.patient:
            ahead = run.writes[: run.writes.index("move")] if run.moves else []
            self._hold(run.moves == (not was_there), run, f"went back by {run.moves} selector writes")
            self._hold("size" not in ahead, run, "sized a ready slot before it went back")
        if not troubles and run.end == "done" and run.moves and self.ledger.traffic:
            drained = self.stage.drained(self.ledger.traffic.slot)
            self._hold(not drained, run, f"left {drained} closing connections, with traffic on them")

    def _together(
        self, wish: Wish, others: list[Wish], come: bool, bursts: Sequence[int | str], troubles: Troubles
    ) -> None:
        self.stage.come = come
        turns = Turns(bursts)

        def first() -> None:
            self._run(self.ledger.open("the first", wish), troubles, lambda what: turns.wait(0, what))

        def second() -> None:
            for other_wish in others:
                self._run(self.ledger.open("the second", other_wish), {}, lambda what: turns.wait(1, what))

        turns.play([first, second])
        self._close()

    def _run(self, run: Run, troubles: Troubles, turn: Turn = lambda _: None) -> Switch:
        """One operator's run, to whatever end."""
        stage = self.stage
        stage.runs += 1
        self.ran += 1
        line = Line(stage.pool, stage, self.ledger, run, stage.past, troubles, turn)
        switch = Switch(Cluster(line), stage.shop.namespace, stage.shop.service, _OPTIONS, stage.clock(run))
        try:
            switch.run(run.wish)
            run.end = "done"
        except Killed:
            run.end = "killed"
        except PlatformError as error:
            run.end = str(error)
        except Exception:
            run.end = "crashed"
            self._hold(False, run, f"crashed:\n{traceback.format_exc()}")
        return switch

    def _foretell(self, wish: Wish) -> tuple[list[str], str]:
        """What check mode says: the steps, or why there are none."""
        stage, run = self.stage, Run("check mode", wish)
        line = Line(stage.pool, stage, Ledger(stage.shop.service), run, Past(), {})
        switch = Switch(Cluster(line), stage.shop.namespace, stage.shop.service, _OPTIONS, stage.clock(run))
        try:
            switch.run(wish, check_mode=True)
            words = ""
        except PlatformError as error:
            words = str(error)
        self._hold(not run.writes, run, f"wrote {run.writes}")
        return switch.kinds, words

    def _compare(self, run: Run, switch: Switch, kinds: list[str], words: str) -> None:
        """What check mode told is what happened, as far as others did their part."""
        if words:
            self._hold(run.end == words, run, f"ended with {run.end!r}, check mode with {words!r}")
        elif run.end == "done":
            self._hold(switch.kinds == kinds, run, f"did {switch.kinds}, check mode told {kinds}")
        else:
            self._hold({"wait", "spread"} & set(kinds), run, f"failed where check mode told {kinds}: {run.end}")

    def _expected(self, wish: Wish, come: bool) -> Place | None:
        """Where traffic must be after an undisturbed run; None where the run may have a reason to refuse."""
        held = [Place(slot, version) for slot, version in self.ledger.versions.items()]
        if wish.previous:
            goals = [place for place in held if place == self.ledger.previous()]
        elif wish.slot:
            goals = [place for place in held if place.slot == wish.slot]
        else:
            goals = [place for place in held if place.version == wish.version]
        if len(goals) != 1:
            return None
        (goal,) = goals
        if wish.previous and (self.ledger.traffic == goal and len(self.ledger.selected) == 1):
            return None  # it is undone already; whether the record has more to go back to is for the record to say
        pods = self.stage.shop.pods[goal.slot]
        if wish.patient or not any(pods):
            return goal if come else None
        # One that was stopped has to come back first, whatever of it is still there.
        shop = self.stage.shop
        return goal if shop.is_ready(goal.slot) and not shop.is_stopped(goal.slot) else None

    def _converge(self) -> None:
        """Everything heals, and the last wish is run again, and once more."""
        self.stage.come = True
        for slot in self.ledger.versions:
            self.stage.pods(slot)
        traffic = self.ledger.traffic
        wish = self._wish(self.last, None, False) if self.last else None
        if not wish or not self._expected(wish, True):
            if not traffic or self.ledger.versions.get(traffic.slot) != traffic.version:
                return
            wish = Wish(slot=traffic.slot, version=traffic.version)
        again = None
        for _ in range(2):
            again = self.ledger.open("the last wish again", wish)
            self._run(again, {})
            self._close()
            self._hold(again.end == "done" and self.ledger.traffic, again, "does not converge")
            if wish.previous and self.ledger.traffic:
                # What was undone before it was recorded leaves no trace to go back by: ask for the place itself.
                wish = Wish(slot=self.ledger.traffic.slot)
        assert again is not None
        self._hold(not again.writes, again, f"wrote {again.writes} the second time")
        state = _slots.read(self.stage.shop.cluster, self.stage.shop.namespace, self.stage.shop.service)
        self._hold(state.active == (self.ledger.traffic and self.ledger.traffic.slot), again, f"left {state}")
        self._hold(state.recorded and state.scaled == state.active, again, f"left {state}")
        self._hold(
            [entry.number for entry in state.history] == list(range(1, len(state.history) + 1)), again, "numbers"
        )

    def _hold(self, holds: object, run: Run, words: str) -> None:
        if not holds:
            self.ledger.violations.append(f"{run}; {words}")

    def _close(self) -> None:
        for run in self.ledger.close():
            _note(f"  {run}")
        _note(f"  traffic: {self.ledger.traffic}, selected {sorted(self.ledger.selected)}")


def _note(words: str) -> None:
    """Tell it with the history, if Hypothesis is the one who plays."""
    if currently_in_test_context():
        note(words)


def play(stage: Stage, *, count: int, seed: int, steps: int = STEPS, shrink: bool = True) -> None:
    """Play so many histories; the same seed gives the same ones. Raises AssertionError with the shortest that fails."""

    @hypothesis.seed(seed)
    class History(Histories):
        pass

    History.stage = stage
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    chosen = settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    # So that a slot of three pods is one of the large ones.
    with mock.patch.object(_traffic, "ENDPOINTS_MAX", 2):
        run_state_machine_as_test(History, settings=chosen)
