# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a service's traffic should go, and the one next step towards it.

`plan()` is the table of states and their next step, and is pure. Everything that it decides on is read from the
cluster, so a run that was killed is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _releases
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._slots import (
    Slot,
    State,
    deployment,
    other,
    selector,
)

SIZE, WAIT, CHECK, WAKE, OVERLAP, SPREAD, SWITCH, DRAIN, AIM, RECORD, REST, STOP, DONE = (
    "size", "wait", "check", "wake", "overlap", "spread", "switch", "drain", "aim", "record", "rest", "stop", "done",
)  # fmt: skip
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
        return (serving.name, serving.version) if serving else (last.slot, last.version)
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
        state, wish = after(state, step), left(wish, step)
    return kinds, state


def after(state: State, step: Step) -> State:
    """What a look should show after a step, if nobody else does anything meanwhile."""
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


def is_moved(expected: State, now: State, wish: Wish) -> bool:
    """Whether somebody else moved the traffic meanwhile, and not to where the wish wants it."""
    if now.is_on(wish.slot):
        return False
    if (expected.active, expected.overlapping) != (now.active, now.overlapping):
        return True
    # There and back again leaves a record; the record of a move that was seen already is none of another one.
    return expected.recorded and expected.release != now.release


def left(wish: Wish, step: Step) -> Wish:
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
