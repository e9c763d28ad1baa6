# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a stated share of a service's traffic to the slot that is not in use: look, choose the one next step, do it.

With an HTTPRoute the share is the weight of its backends, and the preview Service is the canary's. Without one the
Service selects both slots and their sizes make the share. `plan()` is pure; everything that it decides on is read from
the cluster, so a run that was killed is finished by the next one, and no share is the way back from everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _drain, _route, _share
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Invalid,
    NotFound,
    TimedOut,
)
from ansible_collections.opsforge.platform.plugins.module_utils._fields import owned
from ansible_collections.opsforge.platform.plugins.module_utils._fit import await_pods, see_answers
from ansible_collections.opsforge.platform.plugins.module_utils._objects import expecting
from ansible_collections.opsforge.platform.plugins.module_utils._route import Rules, Split
from ansible_collections.opsforge.platform.plugins.module_utils._slots import (
    CANARY_ANNOTATION,
    RESTING_ANNOTATION,
    SLOT_LABEL,
    SLOTS,
    Slot,
    State,
    both,
    deployment,
    other,
    preview,
    read,
    selector,
)
from ansible_collections.opsforge.platform.plugins.module_utils._switch import WAKING, WOKEN_LABEL, Clock

MANAGER = "opsforge-canary"
# Who applies the route when no canary runs: the rules are given back to it.
ROUTE_MANAGER = "opsforge-service"
CLAIM, WAKE, SIZE, WAIT, CHECK, AIM, LISTEN, PREPARE, SETTLE, SHIFT, CLEAN, RELEASE, DONE = (
    "claim", "wake", "size", "wait", "check", "aim", "listen", "prepare", "settle", "shift", "clean", "release", "done",
)  # fmt: skip
ROUTE, REPLICAS = "route", "replicas"
_LOOKS = (WAIT, CHECK, LISTEN, SETTLE)
_CONFLICTS_MAX = 5


@dataclass(frozen=True)
class Wish:
    """The share that the canary should have, in whole percent; the slot not in use is the canary."""

    weight: int = 0
    slot: str | None = None
    version: str | None = None
    sticky: bool = False
    sticky_seconds: int = 3600
    replicas_min: int = 1
    # What is still to be done once in this run.
    check: bool = True
    settle: bool = True
    woke: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Wish:
        """Read the wish from the module's parameters. Raises Invalid."""
        weight = params["weight"]
        if not 0 <= weight <= 100:
            raise Invalid(f"weight is a percentage from 0 to 100, not {weight}")
        if params["sticky"] and params["sticky_seconds"] < 1:
            raise Invalid(f"sticky_seconds must be at least 1, not {params['sticky_seconds']}")
        names = ("weight", "slot", "version", "sticky", "sticky_seconds", "replicas_min")
        return cls(**{name: params[name] for name in names}, check=bool(params["check_path"]))


@dataclass(frozen=True)
class View:
    """A service with all that decides about its canary."""

    state: State
    # None without an HTTPRoute: then the share is by replicas.
    rules: Rules | None = None
    # Of the HTTPRoute when it was read: the precondition of every write to it.
    resource_version: str = ""
    # The slot that the preview points at; "" for none or both, None without a preview. And its precondition.
    shown: str | None = None
    shown_version: str = ""
    # The pods that the preview reaches.
    listening: frozenset[str] = frozenset()

    @property
    def split(self) -> Split:
        """What the route says. Raises Invalid for one that is not ours."""
        return _route.split(self.rules, self.state.service) if self.rules is not None else Split(self.percent)

    @property
    def percent(self) -> int:
        """The canary's share by replicas."""
        mine, all_of_them = self.pods
        return round(100 * mine / all_of_them) if all_of_them else 0

    @property
    def pods(self) -> tuple[int, int]:
        """How many pods of the canary, of how many, the Service selects."""
        state = self.state
        active = state.serving.replicas if state.serving else 0
        mine = sum(slot.replicas for slot in state.slots.values() if slot.name != state.active)
        return (mine, mine + active) if state.overlapping else (0, active)


@dataclass(frozen=True)
class Step:
    """The one next thing to do: on a slot that should have `size` pods, or on the route that should have `rules`."""

    kind: str
    slot: str = ""
    size: int = 0
    rules: Rules | None = None


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


def look(cluster: Cluster, namespace: str, service: str) -> View:
    """Read all that decides, the route last: its version is the precondition. Raises NotFound, Invalid."""
    state = read(cluster, namespace, service)
    shown = cluster.get("v1", "Service", preview(service), namespace)
    labels = {"kubernetes.io/service-name": preview(service)}
    parts = cluster.list("discovery.k8s.io/v1", "EndpointSlice", namespace, labels) if shown else []
    route = cluster.get(_route.API_VERSION, _route.KIND, service, namespace)
    live = (shown or {}).get("spec", {}).get("selector") or {}
    return View(
        state=state,
        rules=route["spec"].get("rules") or [] if route else None,
        resource_version=route["metadata"].get("resourceVersion", "") if route else "",
        shown=next((slot for slot in SLOTS if live == selector(service, slot)), "") if shown else None,
        shown_version=shown["metadata"].get("resourceVersion", "") if shown else "",
        listening=frozenset(_reached(parts)),
    )


def _reached(parts: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for part in parts:
        for endpoint in part.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready", True):
                yield (endpoint.get("targetRef") or {}).get("name", "")


def pin(view: View, wish: Wish) -> Wish:
    """Turn the wish into a slot and a version once. Raises Invalid where no canary can be; no share needs neither."""
    state = view.state
    if not wish.weight:
        return replace(wish, slot=wish.slot or (other(state.active) if state.active else None))
    if state.active is None or state.serving is None:
        raise Invalid(f"{state.service} has no traffic yet that a share could be taken of: release it first")
    name = wish.slot or other(state.active)
    if name == state.active:
        raise Invalid(f"slot {name} of {state.service} is in use and can't be its canary: nothing was written")
    slot = state.slots.get(name)
    if slot is None:
        raise Invalid(f"slot {name} of {state.service} has no Deployment {deployment(state.service, name)}")
    if wish.version not in (None, slot.version):
        raise Invalid(f"slot {name} of {state.service} holds version {slot.version}, not {wish.version}")
    if view.rules is None and wish.weight == 100:
        raise Invalid(f"{state.service} has no HTTPRoute: all of its traffic is moved by a switch, not by a canary")
    if view.rules is None and wish.sticky:
        raise Invalid(f"{state.service} has no HTTPRoute, and nothing else can keep people where they got")
    if view.rules is None and not state.history:
        raise Invalid(f"no release of {state.service} is on record to tell the slot in use while both are selected")
    if view.rules is None and state.scaled == name:
        raise Invalid(f"the autoscaler of {state.service} sizes slot {name}: finish the switch to {state.active} first")
    return replace(wish, slot=name, version=slot.version)


def plan(view: View, wish: Wish) -> Step:
    """Choose the one next step towards a pinned wish. Raises Invalid when there is none that is safe."""
    state = view.state
    split = view.split
    if not wish.weight:
        return _end(view, wish)
    slot = _canary(state, wish)
    # Whoever gets requests now must not be changed for somebody else: what another canary has goes back first.
    if view.rules is not None and view.shown != slot.name and (split.weight or split.asleep):
        return _without(view, view.rules, 0, wish)
    if state.overlapping and not state.canary:
        raise Invalid(f"a switch of {state.service} is under way: finish it first")
    # The Service is the lock of all who move traffic or stop pods. Whoever was about to stop these finds the claim
    # there or, if it looked before, a Deployment that is not the one it saw.
    if state.canary != slot.name:
        return Step(CLAIM, slot.name)
    if _is_announced(state, slot.name):
        return Step(CLAIM if wish.woke else WAKE, slot.name)
    size = _size(view, slot, wish)
    if slot.replicas != size:
        return Step(SIZE, slot.name, size)
    if not (slot.settled and 0 < size <= slot.ready):
        return Step(WAIT, slot.name, size)
    if view.rules is None:
        step = Step(DONE if state.overlapping else SHIFT, slot.name)
    elif view.shown is None:
        raise Invalid(f"namespace {state.namespace} has no Service {preview(state.service)} for the canary")
    elif view.shown != slot.name:
        step = Step(AIM, slot.name)
    elif not view.listening or not view.listening <= set(slot.pods) or len(view.listening) < slot.ready:
        return Step(LISTEN, slot.name)
    else:
        step = _staying(view, view.rules, slot, wish) if wish.sticky else _without(view, view.rules, wish.weight, wish)
    # Pods have to answer before requests come.
    return Step(CHECK, slot.name) if wish.check and step.kind in (AIM, PREPARE, SHIFT) else step


def _end(view: View, wish: Wish) -> Step:
    """The next step to no canary: the traffic first, and whatever else was written for it afterwards."""
    state = view.state
    if view.rules is not None:
        step = _without(view, view.rules, 0, wish)
        if step.kind != DONE:
            return step
    elif state.canary and state.overlapping:
        if not (state.serving and state.serving.ready):
            raise Invalid(f"slot {state.active} of {state.service} has no ready pod to take all of the traffic back")
        return Step(SHIFT)
    return Step(RELEASE) if state.canary else Step(DONE)


def _size(view: View, slot: Slot, wish: Wish) -> int:
    """How many pods the canary needs; by replicas exactly so many, by route at least."""
    serving = view.state.serving.replicas if view.state.serving else 0
    if view.rules is None:
        return _route.pods_beside(wish.weight, serving)
    return max(slot.replicas, wish.replicas_min, _route.pods_for(wish.weight, serving))


def _is_announced(state: State, slot: str) -> bool:
    """Whether somebody said that this slot's pods are to stop, or was killed when they no longer were."""
    return state.resting.removeprefix(WAKING) == slot


def _canary(state: State, wish: Wish) -> Slot:
    slot = state.slots.get(wish.slot or "")
    if slot is None or slot.name == state.active or slot.version != wish.version:
        raise Invalid(f"slot {wish.slot} of {state.service} is no canary any more: another release is at work")
    return slot


def _without(view: View, rules: Rules, weight: int, wish: Wish) -> Step:
    """The next step to this share by the site's rule alone: traffic first, then what is left of our rules."""
    service = view.state.service
    untouched = not weight and _route.is_plain(rules[:1], service)
    main = rules[0] if untouched else _route.shared(rules[0], service, weight)
    ours = _route.asleep(rules[1:])
    if rules != [main, *ours]:
        return Step(SHIFT, rules=[main, *ours])
    if ours:
        return Step(SETTLE) if wish.settle else Step(CLEAN, rules=[main])
    return Step(DONE)


def _staying(view: View, rules: Rules, slot: Slot, wish: Wish) -> Step:
    """The next step to our rules: asleep until every proxy has them, then they take over."""
    state = view.state
    assert state.serving is not None
    stable = f"{state.serving.name}.{state.serving.version}"
    cookie = _route.Cookie(f"{slot.name}.{slot.version}", stable, wish.sticky_seconds)
    main = _route.shared(rules[0], state.service, 0)
    ours = _route.staying(main, state.service, wish.weight, cookie)
    if rules == [main, *ours]:
        return Step(DONE)
    if not view.split.sticky:
        if rules[1:] != _route.asleep(ours):
            return Step(PREPARE, rules=[rules[0], *_route.asleep(ours)])
        if wish.settle:
            return Step(SETTLE)
    return Step(SHIFT, rules=[main, *ours])


def foresee(view: View, wish: Wish) -> tuple[list[str], View]:
    """The kinds of all steps, and the view after them, if each one does what it should. Writes nothing."""
    kinds: list[str] = []
    while (step := plan(view, wish)).kind != DONE:
        kinds += [step.kind] if kinds[-1:] != [step.kind] else []
        view, wish = _after(view, step), _left(wish, step)
    return kinds, view


def _after(view: View, step: Step) -> View:
    state = view.state
    slot = state.slots.get(step.slot)
    if slot and step.kind == SIZE:
        return _with(view, replace(slot, replicas=step.size, ready=min(slot.ready, step.size)))
    if slot and step.kind == WAIT:
        coming = tuple(f"coming-{number}" for number in range(len(slot.pods), step.size))
        return _with(view, replace(slot, ready=step.size, settled=True, pods=(*slot.pods, *coming)[: step.size]))
    if slot and step.kind == AIM:
        return replace(view, shown=step.slot, listening=frozenset())
    if slot and step.kind == LISTEN:
        return replace(view, listening=frozenset(slot.pods))
    if step.rules is not None:
        return replace(view, rules=step.rules)
    if step.kind == SHIFT:
        return replace(view, state=replace(state, overlapping=bool(step.slot)))
    if step.kind in (CLAIM, RELEASE):
        resting = "" if step.slot == state.canary and _is_announced(state, step.slot) else state.resting
        return replace(view, state=replace(state, canary=step.slot, resting=resting))
    return view


def _left(wish: Wish, step: Step) -> Wish:
    """The wish without what is done once: pods answer once a run, proxies hear of each change of our rules."""
    if step.kind in (PREPARE, SHIFT):
        return replace(wish, settle=True)
    return replace(
        wish,
        check=wish.check and step.kind != CHECK,
        settle=wish.settle and step.kind != SETTLE,
        woke=wish.woke or step.kind == WAKE,
    )


def _with(view: View, slot: Slot) -> View:
    return replace(view, state=replace(view.state, slots={**view.state.slots, slot.name: slot}))


def grant(view: View, wish: Wish) -> View:
    """For check mode: the view as it is once earlier tasks have done what they only would have."""
    state = view.state
    name = wish.slot or other(state.active or SLOTS[0])
    if not wish.weight or name == state.active:
        return view
    if state.active is None and not state.slots:
        serving = Slot(other(name), "", replicas=1, ready=1)
        state = replace(state, active=serving.name, slots={serving.name: serving})
        rule = {"backendRefs": [{"name": state.service, "weight": 1}]}
        view = replace(view, rules=[rule], shown="")
    slot = state.slots.get(name)
    if slot is None or wish.version not in (None, slot.version):
        slot = replace(slot or Slot(name, ""), version=wish.version or "", settled=False, ready=0)
    return _with(replace(view, state=state), slot)


def described(cluster: Cluster, state: State) -> dict[str, Any] | None:
    """The canary of a service as a module returns it, None without one; a route that is not ours has none."""
    view = View(state)
    route = cluster.get(_route.API_VERSION, _route.KIND, state.service, state.namespace)
    if route:
        view = replace(view, rules=route["spec"].get("rules") or [])
        try:
            split = view.split
        except Invalid:
            return None
        if _route.is_plain(view.rules or [], state.service):
            return None
        by, weight, sticky = ROUTE, split.weight, split.sticky
    elif state.canary and state.overlapping:
        by, weight, sticky = REPLICAS, view.percent, False
    else:
        return None
    slot = other(state.active) if state.active else None
    return {"slot": slot, "weight": weight, "sticky": sticky, "by": by}


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
