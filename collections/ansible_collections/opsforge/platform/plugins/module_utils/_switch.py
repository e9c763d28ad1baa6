# SPDX-License-Identifier: GPL-3.0-or-later
"""Move a service's traffic to a slot: look, choose the one next step, do it, look again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _drain, _releases
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
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
    State,
    both,
    deployment,
    other,
    preview,
    read,
    selector,
)
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import (
    AIM,
    CHECK,
    DONE,
    DRAIN,
    OVERLAP,
    RECORD,
    REST,
    SIZE,
    SPREAD,
    STOP,
    SWITCH,
    WAIT,
    WAKE,
    WAKING,
    WOKEN_LABEL,
    Step,
    Wish,
    after,
    foresee,
    grant,
    is_moved,
    left,
    pin,
    plan,
)

MANAGER = "opsforge-switch"
_CONFLICTS_MAX = 5


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
            self.kinds, reached = foresee(grant(before, wish), wish)
        else:
            reached = self._converge(before, wish, started)
        self.timings["total_seconds"] = self.clock.monotonic() - started
        return self._answer(before, reached)

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
        while (step := plan(state, wish)).kind != DONE:
            try:
                wish = self._do(state, wish, step, deadline)
            except Conflict:
                conflicts += 1
                if conflicts >= _CONFLICTS_MAX:
                    raise
                expected = state
            else:
                expected = after(state, step)
                if self.kinds[-1:] != [step.kind]:
                    self.kinds.append(step.kind)
            state = self._read()
            # An unrelated change is looked at again. Whoever moved the traffic elsewhere meant to: that ends this run.
            if is_moved(expected, state, wish):
                if expected.is_on(wish.slot):
                    self._aim(state)
                raise self._moved_away(state)
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
        return left(wish, step)

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

    def _service(self, state: State, body: dict[str, Any], *, dry_run: bool = False) -> None:
        """Write to the Service as it was when it was looked at: it is the lock of all who move traffic or stop pods."""
        self._patch("v1", "Service", self.service, expecting(state.resource_version, body), dry_run=dry_run)

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

    def _moved_away(self, now: State) -> Conflict:
        return Conflict(
            f"somebody else moved the traffic of {self.service} during this run: it is on"
            f" {'both slots' if now.overlapping else now.active or 'no slot'} now"
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
        # The record and the Service are two objects: the server has to say that traffic is still where it was seen.
        self._service(state, {}, dry_run=True)
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
        self,
        api_version: str,
        kind: str,
        name: str,
        body: dict[str, Any],
        *,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> None:
        where = (api_version, kind, name, self.namespace)
        self.cluster.patch(*where, body, subresource=subresource, dry_run=dry_run, manager=MANAGER)

    def _answer(self, before: State, reached: State) -> dict[str, Any]:
        serving = reached.serving
        return {
            "changed": bool(set(self.kinds) - {WAIT, CHECK, SPREAD}),
            "service": self.service,
            "active": reached.active,
            "version": serving.version if serving else None,
            "steps": self.kinds,
            "timings": {name: round(value, 6) for name, value in self.timings.items()},
            "release": reached.release,
            "drained": self.drained,
            "unheard": self.unheard,
            "diff": {"before": _shown(before), "after": _shown(reached)},
        }


def _shown(state: State) -> dict[str, Any]:
    """What the diff compares."""
    serving = state.serving
    return {
        "service": f"{state.namespace}/{state.service}",
        "traffic": f"{serving.name} {serving.version}" if serving else None,
        "replicas": {slot.name: slot.replicas for slot in state.slots.values()},
        "autoscaler_follows": state.scaled,
        "releases": state.release,
    }
