# SPDX-License-Identifier: GPL-3.0-or-later
"""Move a service's traffic to a slot: look, choose the one next step, do it, look again.

`plan()` is the table of states and their next step, and is pure. Everything that it decides on is read from the
cluster, so a run that was killed is finished by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _drain, _releases
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Invalid,
    NotFound,
    PlatformError,
    TimedOut,
)
from ansible_collections.opsforge.platform.plugins.module_utils._fit import await_pods, see_answers
from ansible_collections.opsforge.platform.plugins.module_utils._objects import expecting
from ansible_collections.opsforge.platform.plugins.module_utils._slots import (
    RESTING_ANNOTATION,
    SLOT_LABEL,
    TRAFFIC_ANNOTATION,
    Slot,
    State,
    both,
    deployment,
    other,
    preview,
    read,
    selector,
)

MANAGER = "opsforge-switch"
SIZE, WAIT, CHECK, WAKE, OVERLAP, SPREAD, SWITCH, DRAIN, AIM, RECORD, REST, STOP, DONE = (
    "size", "wait", "check", "wake", "overlap", "spread", "switch", "drain", "aim", "record", "rest", "stop", "done",
)  # fmt: skip
# Steps that change who gets traffic.
MOVES = (OVERLAP, SWITCH)
_CONFLICTS_MAX = 5
# Endpoints in one EndpointSlice: so many change hands in one update. Beyond it, the slices follow one another.
ENDPOINTS_MAX = 100
WOKEN_LABEL = "opsforge.dev/woken"
# Before the name of a slot that was announced to be stopped, and is wanted again.
WAKING = "waking "


@dataclass(frozen=True)
class Wish:
    """Where traffic should go and how; one of slot, version, digest and previous is given."""

    slot: str | None = None
    version: str | None = None
    # Of the image, "sha256:...": a version is what people call it, this is what it is.
    digest: str | None = None
    previous: bool = False
    # May bring the slot to size and wait for it; a rollback must not depend on either.
    patient: bool = True
    # Stops before traffic moves: the slot is as large, as ready and as seen as it has to be.
    prepare: bool = False
    replicas_min: int = 1
    ready_percent: int = 100
    # For how long the slot that traffic left is kept, in seconds, until its pods are stopped; None for good. With 0 the
    # slot without traffic never has pods: they would take work by themselves.
    keep_seconds: float | None = None
    # The moment that this is counted from, in seconds since the epoch.
    now: float = 0.0
    # What is still to be done once in this run, and whether it asked for the slot's pods, woke it, moved the traffic.
    check: bool = True
    drain: bool = True
    sized: bool = False
    woke: bool = False
    moved: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Wish:
        """Read the wish from the module's parameters."""
        patient = not params["previous"] if params["patient"] is None else params["patient"]
        return cls(
            slot=params["slot"],
            version=params["version"],
            digest=params["digest"],
            previous=params["previous"],
            patient=patient,
            prepare=params["prepare"],
            replicas_min=params["replicas_min"],
            ready_percent=params["ready_percent"],
            keep_seconds=params["keep_seconds"],
            check=patient and bool(params["check_path"]),
            drain=bool(params["management_port"]),
        )


@dataclass(frozen=True)
class Step:
    """The one next thing to do, on a slot; `size` is the number of pods it should have."""

    kind: str
    slot: str
    size: int = 0


@dataclass(frozen=True)
class Options:
    """How steps are done. Times are in seconds."""

    management_port: int = 9000
    check_port: int = 8000
    check_path: str = "/health"
    timeout: float = 300
    # Between the controller's word and a look at the pods.
    interval: float = 0.1
    by: str = ""
    approved_by: str = ""
    together: str = ""

    @classmethod
    def of(cls, params: Mapping[str, Any], *, user: str) -> Options:
        """Read the options from the module's parameters; the record names `user` if they name nobody."""
        return cls(
            management_port=params["management_port"],
            check_port=params["check_port"],
            check_path=params["check_path"],
            timeout=params["timeout"],
            by=params["by"] or user,
            approved_by=params["approved_by"],
            together=" ".join(params["together"]),
        )


@dataclass(frozen=True)
class Clock:
    """The time, as an argument, so that tests do not wait."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


def pin(state: State, wish: Wish) -> Wish:
    """Turn the wish into a slot and a version once, so that a second look can't change where it leads."""
    if wish.previous:
        slot, version = _previous(state)
        kept = state.slots.get(slot)
        if kept is None or kept.version != version:
            holds = f"slot {slot} " + (f"holds {kept.version} now" if kept else "is gone")
            raise Invalid(
                f"version {version} of {state.service} is no longer kept ({holds}): bring it back with"
                f" ansible-playbook playbooks/release.yml -e service={state.service} -e version={version}"
            )
        return replace(wish, slot=slot, version=version, previous=False)
    if wish.slot is None:
        serving = state.serving
        slots = ([serving] if serving else []) + list(state.slots.values())
        found = next((slot for slot in slots if _holds(slot, wish)), None)
        if found is None:
            held = ", ".join(f"{slot.name} {_content(slot, wish)}" for slot in state.slots.values()) or "none"
            wanted = f"version {wish.version}" if wish.version is not None else f"image {wish.digest}"
            raise Invalid(f"no slot of {state.service} holds {wanted} (slots: {held})")
        return replace(wish, slot=found.name)
    return wish


def _holds(slot: Slot, wish: Wish) -> bool:
    """Whether a slot has what is wished for, by each name that the wish has for it."""
    return wish.version in (None, slot.version) and wish.digest in (None, slot.digest)


def _content(slot: Slot, wish: Wish) -> str:
    """What a slot holds, in the terms of the wish."""
    return f"{slot.version} {slot.digest or 'without a digest'}" if wish.digest else slot.version


def _previous(state: State) -> tuple[str, str]:
    """Slot and version that the last release replaced. Raises Invalid when there was none."""
    undone = _releases.before(state.history)
    back = (undone.from_slot, undone.from_version) if undone else (None, None)
    serving, last = state.serving, state.history[-1] if state.history else None
    # A run that was killed on its way, or before it recorded, replaces what the record tells of. If it was a rollback,
    # traffic is where the last release had come from, and stays.
    if last and state.overlapping:
        return last.slot, last.version
    if last and serving and not state.recorded and (serving.name, serving.version) != back:
        return last.slot, last.version
    if back[0] is None or back[1] is None:
        raise Invalid(
            f"no earlier release of {state.service} is on record to go back to: name the slot to use it anyway"
        )
    return back[0], back[1]


def plan(state: State, wish: Wish) -> Step:
    """Choose the one next step towards a pinned wish. Raises Invalid when there is none that is safe."""
    name = wish.slot or ""
    slot = state.slots.get(name)
    if slot is None:
        raise Invalid(f"slot {name} of {state.service} has no Deployment {deployment(state.service, name)}")
    if not _holds(slot, wish):
        wanted = " ".join(part for part in (wish.version, wish.digest) if part)
        raise Invalid(
            f"slot {name} of {state.service} holds version {_content(slot, wish)}, not {wanted}:"
            " another release is at work, or it was never deployed"
        )
    if not state.is_on(name):
        return _towards(state, slot, wish)
    if state.scaled not in (None, name):
        return Step(AIM, name)
    if not state.recorded:
        return Step(DRAIN if wish.drain else RECORD, name)
    # Back from between two slots there is nothing to record; but who has to close connections may be another one.
    if wish.moved and wish.drain:
        return Step(DRAIN, name)
    idle = state.slots.get(other(name))
    if idle and idle.replicas and not state.canary and _is_over(state, idle, wish):
        # Somebody may be about to go back to it. The Service decides who was first: stopping is announced there, and
        # whoever switches to a slot with that mark touches its Deployment before, so that the announced stop fails.
        return Step(STOP if state.resting == idle.name else REST, idle.name)
    if wish.patient and not _enough(slot, slot.replicas, 100):
        return Step(WAIT, name, slot.replicas)
    return Step(DONE, name)


def _is_over(state: State, idle: Slot, wish: Wish) -> bool:
    """Whether the time is over for which a slot without traffic is kept."""
    if not wish.keep_seconds:
        return wish.keep_seconds is not None
    last = state.history[-1]
    # What somebody is bringing up in it for the next release is not what was kept.
    was_left = (idle.name, idle.version) == (last.from_slot, last.from_version)
    return was_left and wish.now >= _releases.seconds(last) + wish.keep_seconds


def _enough(slot: Slot, size: int, percent: int) -> bool:
    """Whether a slot can take the traffic: never without a pod, never of two templates, and so much of it ready."""
    return slot.settled and slot.ready > 0 and slot.ready * 100 >= size * percent


def _towards(state: State, slot: Slot, wish: Wish) -> Step:
    """The next step while traffic is still elsewhere, or goes to both."""
    if state.canary not in ("", slot.name):
        raise Invalid(
            f"slot {state.canary} of {state.service} is a canary with a share of the traffic: end it first with"
            f" ansible-playbook playbooks/rollback.yml -e service={state.service}"
        )
    # A slot with nobody in it, such as one whose time was over, is brought back, whatever the hurry. Pods that are
    # there although nobody asks for any are on their way out.
    patient = wish.patient or wish.sized or slot.ready == 0 or slot.replicas == 0
    size = slot.replicas
    if patient:
        # The live size of the slot in use, and not a configured one: an autoscaler may have made it ten times as large.
        size = max(size, wish.replicas_min, state.serving.replicas if state.serving else 0)
        if slot.replicas < size:
            return Step(SIZE, slot.name, size)
    enough = _enough(slot, size, 100 if patient else wish.ready_percent)
    if not enough and patient:
        return Step(WAIT, slot.name, size)
    if not enough:
        shown = ",".join(f"{key}={value}" for key, value in selector(state.service, slot.name).items())
        raise Invalid(
            f"slot {slot.name} of {state.service} is not ready ({slot.ready} of {size} pods): traffic stays on"
            f" {state.active or 'no slot'}; see kubectl -n {state.namespace} get pods -l {shown}"
        )
    if wish.check:
        return Step(CHECK, slot.name)
    if wish.prepare:
        return Step(DONE, slot.name)
    # What a run that was killed did not record would be lost by the next record: each move gets its own.
    if state.serving and not state.recorded and not state.overlapping:
        return Step(RECORD, state.serving.name)
    if state.resting.removeprefix(WAKING) == slot.name and not wish.woke:
        return Step(WAKE, slot.name)
    if not wish.patient:
        return Step(SWITCH, slot.name)
    if state.overlapping and state.spread.get(slot.name, 0) < slot.ready:
        return Step(SPREAD, slot.name, slot.ready)
    largest = max(size, state.serving.replicas if state.serving else 0)
    return Step(OVERLAP if largest > ENDPOINTS_MAX and state.serving and not state.overlapping else SWITCH, slot.name)


def foresee(state: State, wish: Wish) -> tuple[list[str], State]:
    """The kinds of all steps, and the state after them, if each one does what it should. Writes nothing."""
    kinds = []
    while (step := plan(state, wish)).kind != DONE:
        kinds.append(step.kind)
        state, wish = _after(state, step), _left(wish, step)
    return kinds, state


def _after(state: State, step: Step) -> State:
    slot = state.slots[step.slot]
    if step.kind == SIZE:
        return _with(state, replace(slot, replicas=step.size))
    if step.kind == WAIT:
        return _with(state, replace(slot, ready=step.size, settled=True))
    if step.kind == OVERLAP:
        return replace(state, overlapping=True)
    if step.kind == SPREAD:
        return replace(state, spread={**state.spread, step.slot: step.size})
    if step.kind == SWITCH:
        return replace(state, active=step.slot, overlapping=False, resting="")
    if step.kind == REST:
        return replace(state, resting=step.slot)
    if step.kind == AIM:
        return replace(state, scaled=step.slot)
    if step.kind == RECORD:
        entry = _releases.following(state.history, slot.name, slot.version, slot.image, time="", by="", drained="")
        return replace(state, history=(*state.history, entry))
    if step.kind == STOP:
        return _with(state, replace(slot, replicas=0, ready=0, pods=()))
    return state


def _left(wish: Wish, step: Step) -> Wish:
    """The wish without what is done once a run. Whoever asked for pods waits for them."""
    return replace(
        wish,
        sized=wish.sized or step.kind == SIZE,
        check=wish.check and step.kind != CHECK,
        drain=wish.drain and step.kind != DRAIN,
        woke=wish.woke or step.kind == WAKE,
        moved=wish.moved or step.kind == SWITCH,
    )


def _with(state: State, slot: Slot) -> State:
    return replace(state, slots={**state.slots, slot.name: slot})


def is_settled(state: State, wish: Wish) -> bool:
    """Whether a pinned wish is true already, down to the last pod."""
    try:
        return plan(state, wish).kind == DONE
    except Invalid:
        return False


def grant(state: State, wish: Wish) -> State:
    """For check mode: the state as it is once an earlier task has filled the wanted slot, which it only would have."""
    slot = state.slots.get(wish.slot or "")
    if wish.slot is None or (slot and _holds(slot, wish)):
        return state
    slot = slot or Slot(wish.slot, "")
    image = f"@{wish.digest}" if wish.digest else slot.image
    slot = replace(slot, version=wish.version or slot.version, image=image, settled=False, ready=0)
    return _with(state, slot)


@dataclass
class Switch:
    """One run: does the steps and remembers what is told afterwards."""

    cluster: Cluster
    namespace: str
    service: str
    options: Options = field(default_factory=Options)
    clock: Clock = field(default_factory=Clock)
    kinds: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    unheard: dict[str, str] = field(default_factory=dict)
    drained: str = ""

    def run(self, wish: Wish, *, check_mode: bool = False) -> dict[str, Any]:
        """Make the wish true, or in check mode tell what that would take; returns the module's answer."""
        started = self.clock.monotonic()
        self.timings["started_at"] = self.clock.now()
        before = self._read(missing_ok=check_mode)
        wish = pin(before, replace(wish, now=self.clock.now()))
        if check_mode:
            self.kinds, after = foresee(grant(before, wish), wish)
        else:
            after = self._converge(before, wish, started)
        self.timings["total_seconds"] = self.clock.monotonic() - started
        return self._answer(before, after)

    def _read(self, *, missing_ok: bool = False) -> State:
        try:
            return read(self.cluster, self.namespace, self.service)
        except NotFound:
            if missing_ok:
                return State(self.service, self.namespace)
            raise

    def _converge(self, state: State, wish: Wish, started: float) -> State:
        deadline = started + self.options.timeout
        conflicts = 0
        arrived = False
        while (step := plan(state, wish)).kind != DONE:
            # A run brings traffic to its slot once: whoever took it away again meant to.
            if arrived and not state.is_on(wish.slot):
                self._aim(state)
                raise self._moved_away(state)
            arrived = state.is_on(wish.slot)
            try:
                wish = self._do(state, wish, step, deadline)
            except Conflict:
                conflicts += 1
                if conflicts >= _CONFLICTS_MAX:
                    raise
                self._refuse_if_moved(state, step)
            else:
                arrived = arrived or step.kind == SWITCH
                if self.kinds[-1:] != [step.kind]:
                    self.kinds.append(step.kind)
            state = self._read()
        return state

    def _do(self, state: State, wish: Wish, step: Step, deadline: float) -> Wish:
        """Do one step; returns the wish that is left."""
        if step.kind in (SIZE, STOP):
            self._touch(state, step.slot, {"spec": {"replicas": step.size}}, subresource="scale")
        elif step.kind == WAKE:
            self._wake(state, step.slot)
        elif step.kind == REST:
            self._service(state, {"metadata": {"annotations": {RESTING_ANNOTATION: step.slot}}})
        elif step.kind == WAIT:
            otherwise = f"traffic of {self.service} stays on {state.active or 'no slot'}"
            await_pods(self.cluster, state, step.slot, deadline, self.options, self.clock, otherwise)
        elif step.kind == CHECK:
            self._check(state, step.slot)
        elif step.kind == OVERLAP:
            self._select(state, both(self.service))
        elif step.kind == SPREAD:
            self._spread(state, step, deadline)
        elif step.kind == SWITCH:
            self._switch(state, step.slot)
        elif step.kind == DRAIN:
            self._drain(state, step.slot)
        elif step.kind == AIM:
            self._aim(state)
        elif step.kind == RECORD:
            self._record(state)
        return _left(wish, step)

    def _check(self, state: State, slot: str) -> None:
        """Point the preview at the slot, and see each of its pods answer."""
        name = preview(self.service)
        found = self.cluster.get("v1", "Service", name, self.namespace)
        if found and found["spec"].get("selector") != selector(self.service, slot):
            self._patch("v1", "Service", name, {"spec": {"selector": selector(self.service, slot)}})
        see_answers(self.cluster, state, slot, self.options, f"traffic stays on {state.active or 'no slot'}")

    def _switch(self, state: State, slot: str) -> None:
        """The one write that moves traffic; the server refuses it if the Service is not the one that was looked at."""
        asked = self.clock.monotonic()
        self._select(state, selector(self.service, slot))
        self.timings["patch_seconds"] = self.clock.monotonic() - asked
        self.timings["patched_at"] = self.clock.now()

    def _wake(self, state: State, slot: str) -> None:
        """Make sure that nobody stops the slot on an earlier look: first no new stop, then none that was begun."""
        if state.resting == slot:
            self._service(state, {"metadata": {"annotations": {RESTING_ANNOTATION: f"{WAKING}{slot}"}}})
        # A label: an annotation counts as a new generation of the Deployment, and the slot as unsettled for a while.
        self._touch(state, slot, {"metadata": {"labels": {WOKEN_LABEL: f"{self.clock.now():.6f}"}}})

    def _select(self, state: State, chosen: dict[str, str]) -> None:
        # A merge leaves keys that are not named: the slot's has to be taken away from both.
        wanted: dict[str, str | None] = {SLOT_LABEL: None, **chosen}
        body: dict[str, Any] = {"spec": {"selector": wanted}}
        if slot := state.slots.get(chosen.get(SLOT_LABEL, "")):
            # For those who watch over it: a metric tells of these two, and marks the moment on their graphs.
            notes: dict[str, str | None] = {f"{TRAFFIC_ANNOTATION}slot": slot.name}
            notes[f"{TRAFFIC_ANNOTATION}version"] = slot.version
            body["metadata"] = {"annotations": {**notes, **({RESTING_ANNOTATION: None} if state.resting else {})}}
        self._service(state, body)

    def _service(self, state: State, body: dict[str, Any]) -> None:
        """Write to the Service as it was when it was looked at: it is the lock of all who move traffic or stop pods."""
        self._patch("v1", "Service", self.service, expecting(state.resource_version, body))

    def _touch(self, state: State, slot: str, body: dict[str, Any], subresource: str | None = None) -> None:
        """Write to a slot's Deployment as it was when it was looked at."""
        body = expecting(state.slots[slot].resource_version, body)
        self._patch("apps/v1", "Deployment", deployment(self.service, slot), body, subresource=subresource)

    def _spread(self, state: State, step: Step, deadline: float) -> None:
        """Wait a moment for the endpoints that the Service has by now."""
        if self.clock.monotonic() >= deadline:
            raise TimedOut(
                f"{state.spread.get(step.slot, 0)} of {step.size} pods of slot {step.slot} are among the endpoints of"
                f" {self.service} after {self.options.timeout:.0f} s: traffic is on both slots; run again, or roll back"
            )
        self.clock.sleep(self.options.interval)

    def _refuse_if_moved(self, seen: State, step: Step) -> None:
        """After a lost write: an unrelated change is looked at again, another hand on the traffic ends this run."""
        now = self._read()
        if step.kind not in MOVES or now.active == step.slot:
            return
        if now.active != seen.active or now.history != seen.history:
            raise self._moved_away(now)

    def _moved_away(self, now: State) -> Conflict:
        return Conflict(
            f"somebody else moved the traffic of {self.service} during this run: it is on {now.active or 'no slot'} now"
            " and stays there; look at its history and decide again"
        )

    def _aim(self, state: State) -> None:
        """Let the autoscaler follow the traffic."""
        if state.scaler and state.active and state.scaled not in (None, state.active):
            body = {"spec": {"scaleTargetRef": {"name": deployment(self.service, state.active)}}}
            self._patch(*state.scaler, self.service, expecting(state.scaler_version, body))

    def _drain(self, state: State, slot: str) -> None:
        """Best effort: a pod that can't be told still serves, and is told of in the answer."""
        port = self.options.management_port
        self.unheard = _drain.undrain(self.cluster, self.namespace, state.slots[slot].pods, port)
        former = state.slots.get(other(slot))
        if former:
            silent = _drain.drain(self.cluster, self.namespace, former.pods, port)
            self.drained = f"{len(former.pods) - len(silent)}/{len(former.pods)}"
            self.unheard |= silent

    def _record(self, state: State) -> None:
        slot = state.serving
        assert slot is not None
        now = datetime.fromtimestamp(self.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = _releases.following(
            state.history, slot.name, slot.version, slot.image, time=now, by=self.options.by, drained=self.drained
        )
        entry = replace(entry, approved_by=self.options.approved_by, together=self.options.together)
        _releases.append(self.cluster, self.namespace, self.service, entry, manager=MANAGER)
        # The record has it: that nobody may write events, or that somebody told of it already, is no reason to fail.
        with suppress(PlatformError):
            _releases.tell(self.cluster, self.namespace, self.service, state.uid, entry, manager=MANAGER)

    def _patch(
        self, api_version: str, kind: str, name: str, body: dict[str, Any], subresource: str | None = None
    ) -> None:
        self.cluster.patch(api_version, kind, name, self.namespace, body, subresource=subresource, manager=MANAGER)

    def _answer(self, before: State, after: State) -> dict[str, Any]:
        serving = after.serving
        return {
            "changed": bool(set(self.kinds) - {WAIT, CHECK, SPREAD}),
            "service": self.service,
            "active": after.active,
            "version": serving.version if serving else None,
            "steps": self.kinds,
            "timings": {name: round(value, 6) for name, value in self.timings.items()},
            "release": after.history[-1].number if after.history else 0,
            "drained": self.drained,
            "unheard": self.unheard,
            "diff": {"before": _shown(before), "after": _shown(after)},
        }


def _shown(state: State) -> dict[str, Any]:
    """What the diff compares."""
    serving = state.serving
    return {
        "service": f"{state.namespace}/{state.service}",
        "traffic": f"{serving.name} {serving.version}" if serving else None,
        "replicas": {slot.name: slot.replicas for slot in state.slots.values()},
        "autoscaler_follows": state.scaled,
        "releases": state.history[-1].number if state.history else 0,
    }
