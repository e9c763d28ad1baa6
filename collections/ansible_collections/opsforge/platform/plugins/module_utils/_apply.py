# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of objects is as written: read what is live, ask the server what would change, then change it in waves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._diff import show, state
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PlatformError,
)
from ansible_collections.opsforge.platform.plugins.module_utils._fields import is_applied
from ansible_collections.opsforge.platform.plugins.module_utils._kinds import defined_kinds
from ansible_collections.opsforge.platform.plugins.module_utils._mask import redact, secret_values
from ansible_collections.opsforge.platform.plugins.module_utils._objects import identity, key, parse, settle
from ansible_collections.opsforge.platform.plugins.module_utils._parallel import each
from ansible_collections.opsforge.platform.plugins.module_utils._ready import judge
from ansible_collections.opsforge.platform.plugins.module_utils._wait import Clock, wait_gone, wait_ready
from ansible_collections.opsforge.platform.plugins.module_utils._waves import is_explicit, waves

Object = dict[str, Any]
Key = tuple[str, str, str, str]
Need = tuple[str, str]
_DEFINITION_TIMEOUT = 60.0  # seconds for namespaces and definitions when no waiting was asked for
_SERVING_SECONDS, _SERVING_PAUSE = 10.0, 0.2
_LIST_FROM = 4  # so many objects of one kind and namespace are cheaper to read by one list than by gets


@dataclass(frozen=True)
class Wish:
    """How a set of objects is to be applied.

    :param force: take over fields that another manager owns.
    :param wait_timeout: seconds to wait for readiness, None to wait for definitions and namespaces only.
    """

    manager: str = "opsforge"
    force: bool = False
    check: bool = False
    wait_timeout: float | None = None


@dataclass(frozen=True)
class Change:
    """What happens, or would happen, to one object."""

    wished: Object
    action: str
    before: Object | None = None
    after: Object | None = None

    def result(self) -> dict[str, Any]:
        """Return the entry of the module's result."""
        metadata = self.wished["metadata"]
        return {
            "api_version": self.wished["apiVersion"],
            "kind": self.wished["kind"],
            "namespace": metadata.get("namespace"),
            "name": metadata["name"],
            "action": self.action,
        }

    def diff(self) -> dict[str, str]:
        """Return the entry of the module's diff."""
        return show(identity(self.wished), self.before, self.after)


@dataclass
class Outcome:
    """What was done, in the order of the wish, and after how many seconds of waiting objects were ready."""

    changes: list[Change]
    seconds: dict[Key, float] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Tell whether anything is, or would be, different from before."""
        return any(change.action != "unchanged" for change in self.changes)

    def result(self, with_diff: bool) -> dict[str, Any]:
        """Return the module's result."""
        results = [change.result() for change in self.changes]
        for change, entry in zip(self.changes, results, strict=True):
            if key(change.wished) in self.seconds:
                entry["seconds"] = self.seconds[key(change.wished)]
        result: dict[str, Any] = {"changed": self.changed, "results": results}
        if with_diff:
            result["diff"] = [change.diff() for change in self.changes if change.action != "unchanged"]
        return result


def run(cluster: Cluster, params: Mapping[str, Any], *, check: bool, diff: bool) -> dict[str, Any]:
    """Do what the options of `kube_apply` say and return its result. Raises PlatformError without secret values."""
    objects = parse(params["objects"] or [], params["src"] or [])
    secrets = secret_values(objects)
    wish = Wish(
        manager=params["manager"],
        force=params["force_conflicts"],
        check=check,
        wait_timeout=params["wait_timeout"] if params["wait"] else None,
    )
    ensure = ensure_present if params["state"] == "present" else ensure_absent
    try:
        settle(objects, cluster.kinds, params["namespace"] or cluster.namespace)
        return ensure(cluster, objects, wish).result(diff)
    except PlatformError as error:
        raise type(error)(redact(str(error), secrets), **error.facts) from error


def ensure_present(cluster: Cluster, objects: list[Object], wish: Wish, clock: Clock = time) -> Outcome:
    """Make all objects as written. What the server can refuse beforehand is refused before the first write.

    Raises Conflict if another manager owns a field, Invalid, NotFound, Forbidden, NotReady, TimedOut; the error's
    facts hold the results of what was written before it.
    """
    order = waves(objects)
    plan = {key(change.wished): change for change in plan_present(cluster, objects, wish)}
    outcome = Outcome(list(plan.values()))
    if wish.check:
        return outcome
    done = {where: change for where, change in plan.items() if change.action == "unchanged"}
    fresh = {need for change in plan.values() if change.action != "unchanged" for need in _brings(change.wished)}

    def write(change: Change) -> None:
        patience = _SERVING_SECONDS if _needs(change.wished) & fresh else 0.0
        done[key(change.wished)] = _write(cluster, change, wish, clock, patience)

    try:
        for wave in order:
            changes = [plan[key(obj)] for obj in wave]
            each(write, [change for change in changes if change.action != "unchanged"])
            outcome.seconds.update(_wait(cluster, [done[key(obj)] for obj in wave], wish, clock, last=False))
        outcome.changes = [done[key(obj)] for obj in objects]
        outcome.seconds.update(_wait(cluster, outcome.changes, wish, clock, last=True))
    except PlatformError as error:
        written = Outcome([done[key(obj)] for obj in objects if key(obj) in done])
        error.facts.update(written.result(with_diff=False))
        raise
    return outcome


def ensure_absent(cluster: Cluster, objects: list[Object], wish: Wish, clock: Clock = time) -> Outcome:
    """Delete all objects that exist, the last wave first. Raises Forbidden, TimedOut."""
    order = waves(objects)
    live = _read_live(cluster, objects)
    plan = {key(obj): _plan_deletion(obj, live.get(key(obj))) for obj in objects}
    for wave in reversed(order):
        doomed = [plan[key(obj)] for obj in wave]
        each(lambda change: _delete(cluster, change, wish), [change for change in doomed if change.action == "deleted"])
    outcome = Outcome(list(plan.values()))
    if wish.wait_timeout is not None and not wish.check:
        existed = [change.wished for change in outcome.changes if change.before is not None]
        outcome.seconds.update(wait_gone(cluster, existed, wish.wait_timeout, clock))
    return outcome


def plan_present(cluster: Cluster, objects: list[Object], wish: Wish) -> list[Change]:
    """Decide what would happen to each object, by a dry run of the very request that would be sent.

    What needs a namespace or kind that is not there yet cannot be tried: it counts as created if the set brings that,
    or in check mode, where an earlier task would have. Raises what the server refuses, of all objects at once.
    """
    live = _read_live(cluster, objects)
    brought: set[Need] = set()  # does not exist yet: a dry run cannot work
    moving: set[Need] = set()  # exists and changes: a dry run may not work
    problems: list[PlatformError] = []
    plan: dict[Key, Change] = {}

    def decide(obj: Object) -> None:
        before = live.get(key(obj))
        try:
            plan[key(obj)] = _plan(cluster, obj, before, wish, brought)
        except (NotFound, Invalid) as error:
            expected = _needs(obj) & moving or (isinstance(error, NotFound) and wish.check)
            if not expected:
                problems.append(error)
            plan[key(obj)] = Change(obj, "changed" if before else "created", before, obj)
        except PlatformError as error:
            problems.append(error)

    bringers = [obj for obj in objects if _brings(obj)]
    each(decide, bringers)
    for obj in bringers:
        change = plan.get(key(obj))
        if change and change.action != "unchanged":
            (brought if change.before is None else moving).update(_brings(obj))
    each(decide, [obj for obj in objects if not _brings(obj)])
    if problems:
        more = f" ({len(problems) - 1} more objects are refused)" if len(problems) > 1 else ""
        raise type(problems[0])(f"{problems[0]}{more}")
    return [plan[key(obj)] for obj in objects]


def _plan(cluster: Cluster, obj: Object, before: Object | None, wish: Wish, brought: set[Need]) -> Change:
    if before is not None and "deletionTimestamp" in before["metadata"]:
        raise Conflict(f"{identity(obj)} is being deleted: try again when it is gone")
    if before is not None and is_applied(before, obj, wish.manager):
        return Change(obj, "unchanged", before, before)
    if before is None and _needs(obj) & brought:
        return Change(obj, "created", None, obj)
    return _apply(cluster, obj, before, wish, dry_run=True)


def _apply(cluster: Cluster, obj: Object, before: Object | None, wish: Wish, dry_run: bool) -> Change:
    after = cluster.apply(obj, manager=wish.manager, force=wish.force, dry_run=dry_run)
    if before is None:
        return Change(obj, "created", None, after)
    return Change(obj, "unchanged" if state(before) == state(after) else "changed", before, after)


def _write(cluster: Cluster, change: Change, wish: Wish, clock: Clock, patience: float) -> Change:
    """Apply for real. A server takes a moment to serve a new definition or schema: refusals are tried again so long."""
    deadline = clock.monotonic() + patience
    while True:
        try:
            return _apply(cluster, change.wished, change.before, wish, dry_run=False)
        except (NotFound, Invalid):
            if clock.monotonic() >= deadline:
                raise
        clock.sleep(_SERVING_PAUSE)


def _brings(obj: Object) -> set[Need]:
    """List what other objects may stand on that this one makes."""
    if obj["kind"] == "Namespace":
        return {("namespace", obj["metadata"]["name"])}
    if obj["kind"] == "CustomResourceDefinition":
        return {("kind", f"{kind.api_version} {kind.kind}") for kind in defined_kinds(obj)}
    if obj["kind"] == "APIService":
        return {("version", f"{obj['spec'].get('group')}/{obj['spec'].get('version')}")}
    return set()


def _needs(obj: Object) -> set[Need]:
    return {
        ("namespace", obj["metadata"].get("namespace") or ""),
        ("kind", f"{obj['apiVersion']} {obj['kind']}"),
        ("version", obj["apiVersion"]),
    }


def _wait(cluster: Cluster, changes: list[Change], wish: Wish, clock: Clock, last: bool) -> dict[Key, float]:
    """Wait for what the next waves stand on, or at last for all; what is ready already costs no request."""
    pending = []
    for change in changes:
        needed = change.wished["kind"] in ("Namespace", "CustomResourceDefinition")
        asked = wish.wait_timeout is not None and (last or is_explicit(change.wished))
        if (needed or asked) and not judge(change.after).ready:
            pending.append(change.wished)
    timeout = _DEFINITION_TIMEOUT if wish.wait_timeout is None else wish.wait_timeout
    return wait_ready(cluster, pending, timeout, clock) if pending else {}


def _plan_deletion(obj: Object, before: Object | None) -> Change:
    gone = before is None or "deletionTimestamp" in before["metadata"]
    return Change(obj, "unchanged" if gone else "deleted", before, None)


def _delete(cluster: Cluster, change: Change, wish: Wish) -> None:
    obj, metadata = change.wished, change.wished["metadata"]
    cluster.delete(obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"), dry_run=wish.check)


def _read_live(cluster: Cluster, objects: list[Object]) -> dict[Key, Object]:
    """Read the objects that exist; of a kind that nobody knows there are none."""
    groups: dict[tuple[str, str, str | None], list[str]] = {}
    for obj in objects:
        if cluster.kinds.find(obj["apiVersion"], obj["kind"]):
            group = obj["apiVersion"], obj["kind"], obj["metadata"].get("namespace")
            groups.setdefault(group, []).append(obj["metadata"]["name"])
    listed: dict[Key, Object] = {}
    single: list[tuple[str, str, str, str | None]] = []
    large = [group for group, names in groups.items() if len(names) >= _LIST_FROM]
    pages = dict(zip(large, each(lambda group: _first_page(cluster, group), large), strict=True))
    for group, names in groups.items():
        found, complete = pages.get(group, ({}, False))
        listed.update({key(found[name]): found[name] for name in names if name in found})
        single += [(group[0], group[1], name, group[2]) for name in names if not complete and name not in found]
    live = each(lambda address: cluster.get(*address), single)
    return {**listed, **{key(obj): obj for obj in live if obj is not None}}


def _first_page(cluster: Cluster, group: tuple[str, str, str | None]) -> tuple[dict[str, Object], bool]:
    """List up to one page by name and tell whether that is all; a caller who may only get objects gets them."""
    try:
        page, more = cluster.page(*group)
    except NotFound:
        return {}, True
    except Forbidden:
        return {}, False
    return {obj["metadata"]["name"]: obj for obj in page}, not more
