# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of every history: a small model of one service that judges each write that the server accepted.

It knows a run only by what the run was told by the server and by what it wrote, and is pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._slots import SLOTS, VERSION_LABEL, is_ready, selector
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Wish

Object = dict[str, Any]
# What of a release may never change once it is recorded.
_ENTRY = ("number", "action", "slot", "version", "from_slot", "from_version")


@dataclass(frozen=True)
class Place:
    """A slot with the version that it holds."""

    slot: str
    version: str


@dataclass
class Run:
    """What one run was asked for, was told, and wrote."""

    who: str
    wish: Wish
    # Where it may bring traffic to.
    goals: set[Place] = field(default_factory=set)
    # The Deployments by slot and the list of pods that it was given last, and whether it has waited or written since.
    deployments: dict[str, Object] = field(default_factory=dict)
    pods: bytes = b""
    is_fresh: bool = False
    # How often traffic had moved by the Service that it was shown.
    moves_seen: int = -1
    # Whether it has seen traffic where it wants it.
    has_arrived: bool = False
    # What it wrote: kinds, or "move" and "size" where it did that.
    writes: list[str] = field(default_factory=list)
    # Whether it was given an answer that was no longer true.
    is_misled: bool = False
    # How it ended: "done", "killed", or the error's words.
    end: str = ""

    def __str__(self) -> str:
        wish = "previous" if self.wish.previous else self.wish.slot or str(self.wish.version)
        return f"{self.who} wants {wish}, wrote {self.writes}: {self.end or 'at work'}"

    @property
    def moves(self) -> int:
        """How often it wrote another selector."""
        return self.writes.count("move")


class Ledger:
    """The service as the accepted writes made it, and what was wrong with them."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.violations: list[str] = []
        # Version and size of each slot that has a Deployment.
        self.versions: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        # The slots that the Service selects, and the one that had all traffic last.
        self.selected: frozenset[str] = frozenset()
        self.traffic: Place | None = None
        self.moves = 0
        # What the last release replaced, and whether it was undone since.
        self.replaced: Place | None = None
        self.is_undone = False
        self.scaled = "blue"
        self.entries: list[Object] = []
        # Where all traffic has been since the last entry was written.
        self.since: set[Place] = set()
        # Pods that were told to close their connections.
        self.draining: set[str] = set()
        self._last_mover: Run | None = None
        self._runs: list[Run] = []

    # -- the wishes -------------------------------------------------------------------------------------------------

    def previous(self) -> Place | None:
        """Where a rollback leads: a second one stays where the first one went."""
        if len(self.selected) > 1 or self.is_undone:
            return self.traffic
        return self.replaced

    def open(self, who: str, wish: Wish) -> Run:
        """A run begins."""
        run = Run(who, wish)
        self._runs.append(run)
        self._set_goals(run)
        return run

    def close(self) -> list[Run]:
        """The runs at work have ended: where the last one that moved traffic was not cut short, the record tells so."""
        runs, self._runs = self._runs, []
        movers, self._last_mover = [self._last_mover] if self._last_mover else runs, None
        if any(run.is_misled for run in runs) or any(run.end != "done" for run in movers):
            return runs
        last = self.entries[-1] if self.entries else None
        told = Place(last["slot"], last["version"]) if last else None
        if told != self.traffic or len(self.selected) > 1:
            self._wrong(movers[0], f"is done, traffic is on {self._shown()}, and the record says {told}")
        return runs

    def _set_goals(self, run: Run) -> None:
        """What a run may want depends on where things stand by the time it looks."""
        wish = run.wish
        if wish.previous:
            goal = self.previous()
            run.goals |= {goal} if goal else set()
        elif wish.slot:
            run.goals |= {Place(wish.slot, self.versions.get(wish.slot, ""))}
        else:
            run.goals |= {Place(slot, held) for slot, held in self.versions.items() if held == wish.version}

    # -- what runs are told, and write ------------------------------------------------------------------------------

    def told(self, run: Run, kind: str, name: str, body: bytes, moves: int) -> None:
        """The server answered a read. `moves` is how often traffic had moved when the answer was true."""
        if kind == "pods" and not name:
            run.pods, run.is_fresh = body, True
        elif kind == "deployments":
            found = json.loads(body)
            run.deployments |= {self._slot(one["metadata"]["name"]): one for one in found.get("items", [found])}
        elif kind == "services" and name == self.service:
            run.moves_seen = moves
            chosen = self._chosen(json.loads(body))
            there = [goal.slot for goal in run.goals if self.versions.get(goal.slot) == goal.version]
            run.has_arrived = run.has_arrived or any(chosen == {slot} for slot in there)

    def wrote(self, run: Run, kind: str, name: str, answer: Object) -> None:
        """The server accepted a write of a run and answered with the object as it is now."""
        if kind == "services" and name == self.service:
            kind = "move" if self._selected(run, answer) else kind
        elif kind == "configmaps":
            self._recorded(run, answer)
        elif kind == "deployments":
            kind = "size" if self._scaled(run, name, answer["spec"].get("replicas", 0)) else kind
        elif kind == "horizontalpodautoscalers":
            self.scaled = self._slot(answer["spec"]["scaleTargetRef"]["name"])
        run.writes.append(kind)
        run.is_fresh = False

    def heard(self, method: str, pod: str) -> None:
        """A pod was told to drain, or no longer to."""
        (self.draining.add if method == "PUT" else self.draining.discard)(pod)

    def _selected(self, run: Run, service: Object) -> bool:
        """Judge a write to the Service; tell whether it changed the selector."""
        chosen = self._chosen(service)
        if chosen == self.selected:
            return False
        if run.moves_seen != self.moves:
            self._wrong(run, "moved traffic that somebody else had moved since it looked")
        self._judge_endpoints(run, chosen)
        if not chosen & {goal.slot for goal in run.goals}:
            self._wrong(run, f"moved traffic to {sorted(chosen)}, where nobody asked for it")
        if run.has_arrived:
            self._wrong(run, "moved traffic back that somebody had taken away from where it wants it")
        self.selected, self.moves, self._last_mover = chosen, self.moves + 1, run
        if len(chosen) == 1:
            (slot,) = chosen
            self._moved(Place(slot, self.versions.get(slot, "")))
            run.has_arrived = True
        for other in self._runs:
            if not other.writes and other.wish.previous:
                self._set_goals(other)
        return True

    def _judge_endpoints(self, run: Run, chosen: frozenset[str]) -> None:
        """Judge by what the run could know: it must have looked just now, and have seen all that it relies on."""
        if not run.is_fresh:
            self._wrong(run, "moved traffic without a look at the pods just before")
        pods = json.loads(run.pods or "{}").get("items") or []
        ready = sum(is_ready(pod) and _label(pod, "opsforge.dev/slot") in chosen for pod in pods)
        if not ready:
            self._wrong(run, f"left the Service with no endpoint: none of {sorted(chosen)} was ready")
        for slot in chosen if len(chosen) == 1 else ():
            found = run.deployments[slot]
            status = found.get("status") or {}
            if ready < found["spec"]["replicas"] or status.get("updatedReplicas", 0) < status.get("replicas", 0):
                self._wrong(run, f"moved traffic to {slot} with {ready} ready of {found['spec']['replicas']} pods")
            version = _label(found["spec"]["template"], VERSION_LABEL)
            if not any(goal == Place(slot, version) for goal in run.goals):
                self._wrong(run, f"moved traffic to version {version}, which it was not asked for")

    def _moved(self, place: Place) -> None:
        if place == self.traffic:
            return
        if place == self.replaced and not self.is_undone:
            self.is_undone = True
        else:
            self.replaced, self.is_undone = self.traffic, False
        self.traffic = place
        self.since.add(place)

    def _recorded(self, run: Run, found: Object) -> None:
        lines = ((found.get("data") or {}).get("releases") or "").splitlines()
        entries = [{key: json.loads(line).get(key) for key in _ENTRY} for line in lines]
        before, self.entries = self.entries, entries
        if entries == before:
            return
        if entries[:-1] != before:
            self._wrong(run, f"rewrote the record: {before} became {entries}")
            return
        new, last = entries[-1], before[-1] if before else None
        if new["number"] != (last["number"] if last else 0) + 1:
            self._wrong(run, f"gave number {new['number']} after {last}")
        if last and (new["from_slot"], new["from_version"]) != (last["slot"], last["version"]):
            self._wrong(run, f"recorded {new} behind {last}")
        if last and (new["slot"], new["version"]) == (last["slot"], last["version"]):
            self._wrong(run, f"recorded one move twice: {new}")
        if Place(new["slot"], new["version"]) not in self.since:
            self._wrong(run, f"recorded what did not happen: {new}; since {last} traffic was on {self.since}")
        self.since = {self.traffic} if self.traffic else set()

    def _scaled(self, run: Run, name: str, size: int) -> bool:
        """Judge a write to a Deployment; tell whether it changed its size."""
        slot = self._slot(name)
        before, self.sizes[slot] = self.sizes.get(slot, 0), size
        if slot in self.selected and size < before:
            self._wrong(run, f"shrank {slot} from {before} to {size} pods with traffic on it")
        return size != before

    # -- what others do -----------------------------------------------------------------------------------------------

    def deployed(self, slot: str, version: str, size: int) -> None:
        """A slot was given a version."""
        self.versions[slot], self.sizes[slot] = version, size

    def removed(self, slot: str) -> None:
        """A slot's Deployment was deleted."""
        self.versions.pop(slot, None)
        self.sizes.pop(slot, None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _wrong(self, run: Run, words: str) -> None:
        self.violations.append(f"{run}; {words}")

    def _shown(self) -> str:
        return f"{self.traffic} (selected: {sorted(self.selected)})"

    def _slot(self, name: str) -> str:
        return name.removeprefix(f"{self.service}-")

    def _chosen(self, service: Mapping[str, Any]) -> frozenset[str]:
        live = service["spec"].get("selector") or {}
        return frozenset(slot for slot in SLOTS if live and live.items() <= selector(self.service, slot).items())


def _label(found: Mapping[str, Any], label: str) -> str:
    return str((found["metadata"].get("labels") or {}).get(label, ""))
