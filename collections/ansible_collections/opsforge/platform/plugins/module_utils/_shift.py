# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a stated share of a service's traffic to the slot that is not in use: look, do the one next step, look again.

A run that was killed is finished by the next one, and no share is the way back from everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _drain, _route, _share
from ansible_collections.opsforge.platform.plugins.module_utils._canary import (
    AIM,
    CHECK,
    CLAIM,
    DONE,
    LISTEN,
    RELEASE,
    REPLICAS,
    ROUTE,
    ROUTE_MANAGER,
    SETTLE,
    SIZE,
    WAIT,
    WAKE,
    Step,
    View,
    Wish,
    _is_announced,
    _left,
    foresee,
    grant,
    look,
    pin,
    plan,
)
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Invalid,
    NotFound,
    TimedOut,
)
from ansible_collections.opsforge.platform.plugins.module_utils._fields import owned
from ansible_collections.opsforge.platform.plugins.module_utils._fit import await_pods, see_answers
from ansible_collections.opsforge.platform.plugins.module_utils._objects import expecting
from ansible_collections.opsforge.platform.plugins.module_utils._route import Rules
from ansible_collections.opsforge.platform.plugins.module_utils._slots import (
    CANARY_ANNOTATION,
    RESTING_ANNOTATION,
    SLOT_LABEL,
    State,
    both,
    deployment,
    preview,
    selector,
)
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import WOKEN_LABEL

MANAGER = "opsforge-canary"
_LOOKS = (WAIT, CHECK, LISTEN, SETTLE)
_CONFLICTS_MAX = 5


@dataclass(frozen=True)
class Options:
    """How steps are done. Times are in seconds."""

    check_port: int = 8000
    check_path: str = "/health"
    management_port: int = 9000
    timeout: float = 300
    # Until every proxy has heard of a change of the route.
    settle: float = 2.0
    # Between the controller's word and a look at the pods, and between two looks at endpoints.
    interval: float = 0.1
    measure: int = 0
    tolerance: float = 5.0

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Options:
        """Read the options from the module's parameters. Raises Invalid."""
        if params["measure_seconds"] < 0:
            raise Invalid(f"measure_seconds must not be below 0, but is {params['measure_seconds']}")
        if not 0 < params["tolerance_points"] <= 50:
            raise Invalid(f"tolerance_points must be above 0 and at most 50, not {params['tolerance_points']:g}")
        return cls(
            check_port=params["check_port"],
            check_path=params["check_path"],
            management_port=params["management_port"],
            timeout=params["timeout"],
            settle=params["settle_seconds"],
            measure=params["measure_seconds"],
            tolerance=params["tolerance_points"],
        )


@dataclass
class Shift:
    """One run: does the steps and remembers what is told afterwards."""

    cluster: Cluster
    namespace: str
    service: str
    options: Options = field(default_factory=Options)
    clock: Clock = field(default_factory=Clock)
    prometheus: _share.Asked | None = None
    kinds: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    unheard: dict[str, str] = field(default_factory=dict)
    # What this run's own last write made of the traffic: it moves it, and does not fight for it.
    made: tuple[int, bool] | None = None

    def run(self, wish: Wish, *, check_mode: bool = False) -> dict[str, Any]:
        """Make the wish true, or in check mode tell what that would take; returns the module's answer."""
        started = self.clock.monotonic()
        self.timings["started_at"] = self.clock.now()
        before = after = self._look(missing_ok=check_mode)
        if check_mode:
            before = grant(before, wish)
            wish = pin(before, wish)
            self.kinds, after = foresee(before, wish)
        else:
            wish = pin(before, wish)
            after = self._converge(before, wish, started)
        self.timings["total_seconds"] = self.clock.monotonic() - started
        share = self._measured(wish, after, check_mode=check_mode)
        return self._answer(before, after, wish, share)

    def _look(self, *, missing_ok: bool = False) -> View:
        try:
            return look(self.cluster, self.namespace, self.service)
        except NotFound:
            if missing_ok:
                return View(State(self.service, self.namespace))
            raise

    def _converge(self, view: View, wish: Wish, started: float) -> View:
        deadline = started + self.options.timeout
        conflicts = 0
        while (step := plan(view, wish)).kind != DONE:
            if self.made is not None and step.kind not in _LOOKS and _traffic(view) != self.made:
                raise self._overtaken(view)
            try:
                self._do(view, step, deadline)
            except Conflict:
                conflicts += 1
                if conflicts >= _CONFLICTS_MAX:
                    raise
                seen, view = view, self._look()
                # No share is the way back: it is not called off by whoever was about to give one.
                if wish.weight and _traffic(view) != _traffic(seen) and plan(view, wish).kind != DONE:
                    raise self._overtaken(view) from None
                continue
            self.kinds += [step.kind] if self.kinds[-1:] != [step.kind] else []
            wish = _left(wish, step)
            view = self._look()
        return view

    def _overtaken(self, view: View) -> Conflict:
        return Conflict(
            f"somebody else moved the traffic of {self.service} meanwhile: its canary has {view.split.weight}% now;"
            " look at it and decide again"
        )

    def _do(self, view: View, step: Step, deadline: float) -> None:
        state = view.state
        if step.kind in (CLAIM, RELEASE):
            notes: dict[str, str | None] = {CANARY_ANNOTATION: step.slot or None}
            if step.slot == state.canary and _is_announced(state, step.slot):
                notes[RESTING_ANNOTATION] = None
            body: dict[str, Any] = {"metadata": {"annotations": notes}}
            self._patch("v1", "Service", self.service, body, state.resource_version)
        elif step.kind == WAKE:
            woken = {"metadata": {"labels": {WOKEN_LABEL: f"{self.clock.now():.6f}"}}}
            self._touch(state, step.slot, woken)
        elif step.kind == SIZE:
            self._touch(state, step.slot, {"spec": {"replicas": step.size}}, subresource="scale")
        elif step.kind == WAIT:
            await_pods(self.cluster, state, step.slot, deadline, self.options, self.clock, self._as_it_was(view))
        elif step.kind == CHECK:
            self._check(view, step.slot)
        elif step.kind == AIM:
            self._select(preview(self.service), view.shown_version, selector(self.service, step.slot))
        elif step.kind == LISTEN:
            self._listen(view, step.slot, deadline)
        elif step.kind == SETTLE:
            self.clock.sleep(self.options.settle)
        elif step.rules is not None:
            self._write_route(view, step.rules)
        else:
            wanted = both(self.service) if step.slot else selector(self.service, state.active or "")
            self._select(self.service, state.resource_version, wanted)
            self._moved(_traffic(replace(view, state=replace(state, overlapping=bool(step.slot)))))

    def _check(self, view: View, slot: str) -> None:
        """See each pod of the canary answer, and tell it to keep connections: a release may have told it not to."""
        options = self.options
        pods = see_answers(self.cluster, view.state, slot, options, self._as_it_was(view))
        if options.management_port:
            self.unheard = _drain.undrain(self.cluster, self.namespace, pods, options.management_port)

    def _listen(self, view: View, slot: str, deadline: float) -> None:
        """Wait until the preview reaches the pods: a share that nobody takes would be lost."""
        if self.clock.monotonic() >= deadline:
            pods = view.state.slots[slot].pods
            raise TimedOut(
                f"Service {preview(self.service)} reaches {len(view.listening.intersection(pods))} of the {len(pods)}"
                f" pods of slot {slot}, and {len(view.listening.difference(pods))} others, after"
                f" {self.options.timeout:.0f} s: {self._as_it_was(view)}"
            )
        self.clock.sleep(self.options.interval)

    def _as_it_was(self, view: View) -> str:
        return f"the canary of {self.service} stays at {view.split.weight}%"

    def _write_route(self, view: View, rules: Rules) -> None:
        """The one write that moves traffic; the server refuses it if the route is not the one that was looked at."""
        where = (_route.API_VERSION, _route.KIND, self.service)
        if not _route.is_plain(rules, self.service):
            found = self._patch(*where, {"spec": {"rules": rules}}, view.resource_version)
        else:
            # Given back: who applies the route may change it again, and is refused as long as it may not.
            live = self.cluster.get(*where, self.namespace) or {"metadata": {}}
            theirs = owned(live, ROUTE_MANAGER)
            identity = {"name": self.service, "namespace": self.namespace, "resourceVersion": view.resource_version}
            wanted = {
                "apiVersion": _route.API_VERSION,
                "kind": _route.KIND,
                "metadata": {**theirs.get("metadata", {}), **identity},
                "spec": {**theirs.get("spec", {}), "rules": rules},
            }
            found = self.cluster.apply(wanted, manager=ROUTE_MANAGER, force=True)
        self._moved(_traffic(replace(view, rules=found["spec"]["rules"])))

    def _moved(self, traffic: tuple[int, bool]) -> None:
        self.made = traffic
        self.timings["shifted_at"] = self.clock.now()

    def _select(self, name: str, version: str, wanted: Mapping[str, str]) -> None:
        # A merge leaves keys that are not named: the slot's has to be taken away.
        self._patch("v1", "Service", name, {"spec": {"selector": {SLOT_LABEL: None, **wanted}}}, version)

    def _touch(self, state: State, slot: str, body: dict[str, Any], subresource: str | None = None) -> None:
        version = state.slots[slot].resource_version
        self._patch("apps/v1", "Deployment", deployment(self.service, slot), body, version, subresource)

    def _patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        body: dict[str, Any],
        version: str,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """Write to an object as it was when it was looked at."""
        body = expecting(version, body)
        return self.cluster.patch(
            api_version, kind, name, self.namespace, body, subresource=subresource, manager=MANAGER
        )

    def _measured(self, wish: Wish, after: View, *, check_mode: bool) -> _share.Share:
        """Let the share work for a while and have the requests counted."""
        seconds = self.options.measure
        wanted = after.split.weight
        share = _share.Share(wanted, _share.tolerance(wanted, self.options.tolerance))
        if check_mode or not seconds or not self.prometheus or wish.slot is None:
            return share
        self.clock.sleep(seconds)
        return _share.measure(self.prometheus, self.namespace, self.service, wish.slot, seconds, share)

    def _answer(self, before: View, after: View, wish: Wish, share: _share.Share) -> dict[str, Any]:
        mine, all_of_them = after.pods
        split = after.split
        warnings = [f"pod {pod} was not told to keep its connections: {why}" for pod, why in self.unheard.items()]
        if after.rules is None and wish.weight and abs(split.weight - wish.weight) > share.tolerance:
            warnings.append(f"{mine} of {all_of_them} pods make a share of {split.weight}%, not of {wish.weight}%")
        return {
            "changed": bool(set(self.kinds) - set(_LOOKS)),
            "service": self.service,
            "slot": wish.slot,
            "weight": split.weight,
            "sticky": split.sticky,
            "by": REPLICAS if after.rules is None else ROUTE,
            "approximate": f"{mine} of {all_of_them} pods" if after.rules is None else None,
            "steps": self.kinds,
            "timings": {name: round(value, 6) for name, value in self.timings.items()},
            "warnings": [*warnings, *([share.warning] if share.warning else [])],
            "diff": {"before": _shown(before), "after": _shown(after)},
            **share.result(),
        }


def _traffic(view: View) -> tuple[int, bool]:
    """What requests notice, whatever else is written beside it."""
    if view.rules is None:
        return 0, view.state.overlapping
    return view.split.weight, view.split.sticky


def _shown(view: View) -> dict[str, Any]:
    """What the diff compares."""
    state = view.state
    split = view.split
    return {
        "service": f"{state.namespace}/{state.service}",
        "canary": state.canary or None,
        "weight": split.weight,
        "sticky": split.sticky,
        "replicas": {slot.name: slot.replicas for slot in state.slots.values()},
        "preview": view.shown or None,
    }
