# SPDX-License-Identifier: GPL-3.0-or-later
"""The share of a service's traffic that the slot not in use has, and the one next step towards another share.

With an HTTPRoute the share is the weight of its backends, and the preview Service is the canary's. Without one the
Service selects both slots and their sizes make the share. `plan()` is pure; everything that it decides on is read from
the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _route
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Invalid,
)
from ansible_collections.opsforge.platform.plugins.module_utils._route import Rules, Split
from ansible_collections.opsforge.platform.plugins.module_utils._slots import (
    SLOTS,
    Slot,
    State,
    deployment,
    other,
    preview,
    read,
    selector,
)
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import WAKING

# Who applies the route when no canary runs: the rules are given back to it.
ROUTE_MANAGER = "opsforge-service"
CLAIM, WAKE, SIZE, WAIT, CHECK, AIM, LISTEN, PREPARE, SETTLE, SHIFT, CLEAN, RELEASE, DONE = (
    "claim", "wake", "size", "wait", "check", "aim", "listen", "prepare", "settle", "shift", "clean", "release", "done",
)  # fmt: skip
ROUTE, REPLICAS = "route", "replicas"


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
