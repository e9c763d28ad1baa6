# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of an incident: one ConfigMap, one line of JSON for each thing that happened, each sealed by a hash.

`Incident` is pure: what is in the record, whether that is what was written, and what follows. `Desk` reads and writes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._mask import mask, mask_text
from ansible_collections.opsforge.platform.plugins.module_utils._records import Writer, aligned, insist, labels, save

MANAGER = "opsforge-incident"
COMPONENT = "incident"
STATE_LABEL = "opsforge.dev/incident-state"
KEY_LABEL = "opsforge.dev/incident-key"
SERVICE_LABEL = "app.kubernetes.io/name"
OPEN, CLOSED = "open", "closed"
# What is done with a record.
OPENED, APPENDED, REPORT = "opened", "appended", "report"
STATES = (OPENED, APPENDED, CLOSED, REPORT)
# What an entry may tell; the first and the last one of a record have kinds of their own.
KINDS = ("event", "release", "rollback", "action", "verified", "note")

BYTES_MAX = 800_000  # the server takes a ConfigMap of a million
CLOSING_BYTES = 150_000  # kept for the last entry, so that a full record can be closed
TEXT_MAX = 2000  # characters
VALUE_MAX = 300
PAIRS_MAX = 16
NAME_MAX = 200  # an event's id, a key, who did it

_ENTRIES, _HEAD = "entries", "head"
_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,98}[a-z0-9])?")
_SERVICE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_NUMBER = re.compile(r"-(\d{1,9})$")

Object = dict[str, Any]
Objects = list[Object]
Value = str | int | float | bool | None


class Cluster(Writer, Protocol):
    """The part of a cluster's client that the desk needs."""

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Objects: ...


@dataclass(frozen=True)
class Entry:
    """One thing that happened. `previous` is the hash of the entry before it, `hash` that of all its other fields."""

    number: int
    # UTC.
    time: str
    kind: str
    text: str
    by: str = ""
    data: Mapping[str, Value] = field(default_factory=dict)
    event_id: str = ""
    previous: str = ""
    hash: str = ""

    @property
    def seconds(self) -> float:
        """When it happened, in seconds since the epoch; NaN for a time that nobody can read."""
        try:
            return datetime.fromisoformat(self.time).timestamp()
        except ValueError:
            return math.nan


@dataclass(frozen=True)
class Fault:
    """The first entry that is not as it was written."""

    number: int
    why: str

    def __str__(self) -> str:
        return f"entry {self.number} {self.why}"


def canonical(content: Mapping[str, Any]) -> str:
    """The one way to write this as a line of JSON."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(entry: Entry) -> Entry:
    """The entry with its hash."""
    return replace(entry, hash=_hash(asdict(entry)))


def name(incident: str) -> str:
    """The name of an incident's record."""
    return f"incident-{incident}"


def stem(key: str) -> str:
    """What the ids of all incidents with this key begin with: readable, and no two keys share it."""
    return f"{_NOT_SLUG.sub('-', mask_text(key).lower())[:40].strip('-') or 'key'}-{digest(key)[:10]}"


@dataclass(frozen=True)
class Incident:
    """What is in a record, and the first fault of it if there is one."""

    id: str
    lines: tuple[str, ...]
    # None stands for a line that nobody can read.
    entries: tuple[Entry | None, ...]
    fault: Fault | None
    # As the labels say: what a record with a fault is found by.
    service: str
    state: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether anything may still be appended, but for a fault."""
        return self.state == OPEN

    @property
    def head(self) -> str:
        """The hash that stands for the whole record."""
        return self.entries[-1].hash if self.entries and self.entries[-1] else ""

    @property
    def key(self) -> str:
        """What kept it from being opened twice; empty where that was its id."""
        first = self.entries[0] if self.entries else None
        return str(first.data.get("key", "")) if first else ""

    def has(self, event_id: str) -> bool:
        """Whether that event is in the record already."""
        return bool(event_id) and any(entry.event_id == event_id for entry in self.entries if entry)

    def seconds(self, now: float) -> float | None:
        """From its opening to its end, or until now; None where nobody can tell."""
        first, last = (self.entries[0], self.entries[-1]) if self.entries else (None, None)
        end = now if self.is_open else last.seconds if last else math.nan
        past = end - first.seconds if first else math.nan
        return None if math.isnan(past) else round(past, 3)


def opened(incident: str, entry: Entry, *, service: str, key: str) -> Incident:
    """A new incident with its first entry, which tells what it is about."""
    about = {"service": service, "key": mask_text(key)}
    data = {**entry.data, **{part: value for part, value in about.items() if value}}
    state = {STATE_LABEL: OPEN, **({KEY_LABEL: digest(key)[:32]} if key else {})}
    empty = Incident(incident, (), (), None, service, OPEN, {**labels(service, COMPONENT), **state})
    return following(empty, replace(entry, kind=OPENED, data=data))


def following(before: Incident, entry: Entry) -> Incident:
    """The incident with one more entry. Raises Invalid when nothing may follow."""
    if before.fault:
        raise Invalid(
            f"{_told(before)}: it stays as it was found, and nothing is added to it; keep a copy"
            f" (kubectl get configmap {name(before.id)} -o yaml), delete it, and open another incident"
        )
    if not before.is_open:
        raise Invalid(f"incident {before.id} is closed: open another one")
    previous = before.head or digest(f"incident {before.id}")
    entry = sealed(replace(entry, number=len(before.entries) + 1, previous=previous))
    lines = (*before.lines, canonical(asdict(entry)))
    size = sum(len(line) + 1 for line in lines)
    if size > BYTES_MAX + (CLOSING_BYTES if entry.kind == CLOSED else 0):
        raise Invalid(
            f"the record of incident {before.id} is full ({len(before.entries)} entries, {size} bytes with this one):"
            " close it and open another one"
        )
    state = CLOSED if entry.kind == CLOSED else OPEN
    known = {**before.labels, STATE_LABEL: state}
    return replace(before, lines=lines, entries=(*before.entries, entry), state=state, labels=known)


def read(config_map: Mapping[str, Any]) -> Incident:
    """What is in the record, whatever has become of it."""
    metadata, data = config_map["metadata"], config_map.get("data") or {}
    found: Mapping[str, str] = metadata.get("labels") or {}
    text = data.get(_ENTRIES, "").removesuffix("\n")
    # Never splitlines(): what somebody put in may hold other ends of lines.
    lines = tuple(text.split("\n")) if text else ()
    entries = tuple(_entry(line) for line in lines)
    incident = metadata["name"].removeprefix(name(""))
    service, state = found.get(SERVICE_LABEL, ""), found.get(STATE_LABEL, "")
    fault = _fault(incident, lines, entries, data.get(_HEAD, ""), service, state)
    return Incident(incident, lines, entries, fault, service, state, found, metadata.get("annotations") or {})


def written(incident: Incident, namespace: str) -> Object:
    """The record as it is kept. The server itself refuses every later change of one that is closed."""
    return {
        "metadata": {
            "name": name(incident.id),
            "namespace": namespace,
            "labels": dict(incident.labels),
            "annotations": dict(incident.annotations),
        },
        "data": {
            _ENTRIES: "".join(f"{line}\n" for line in incident.lines),
            # The lines alone would not tell that the last ones are missing.
            _HEAD: f"{len(incident.entries)} {incident.head}",
        },
        **({} if incident.is_open else {"immutable": True}),
    }


def timeline(incident: Incident) -> list[str]:
    """What happened as aligned lines for people, oldest first; from the first fault on nothing is proved."""
    rows = []
    start = incident.entries[0].seconds if incident.entries and incident.entries[0] else math.nan
    for number, entry in enumerate(incident.entries, 1):
        proved = "!" if incident.fault and number >= incident.fault.number else " "
        if entry is None:
            rows.append((proved, str(number), "-", "-", "-", "-", "(nobody can read this entry)"))
            continue
        data = " ".join(f"{_shown(part)}={_shown(value)}" for part, value in sorted(entry.data.items()))
        text = f"{_shown(entry.text)} ({data})" if data else _shown(entry.text)
        past = _span(entry.seconds - start)
        shown = (_shown(entry.time), past, _shown(entry.kind), _shown(entry.by) or "-")
        rows.append((proved, str(number), *shown, text))
    return aligned(rows)


def _told(incident: Incident) -> str:
    return f"the record of incident {incident.id} is not as it was written ({incident.fault})"


def _hash(content: Mapping[str, Any]) -> str:
    return digest(canonical({part: value for part, value in content.items() if part != "hash"}))


def _content(line: str) -> Object | None:
    try:
        content = json.loads(line)
        # Of two equal names in a line the reader sees one only, so it must be written in the one way.
        return content if isinstance(content, dict) and canonical(content) == line else None
    except (ValueError, RecursionError):
        return None


def _entry(line: str) -> Entry | None:
    """The entry in a line. What a newer version of this collection wrote beside our fields is passed over."""
    content = _content(line) or {}
    known = {part.name for part in fields(Entry)}
    entry = {part: value for part, value in content.items() if part in known}
    texts = [value for part, value in entry.items() if part not in ("number", "data")]
    if not {"number", "time", "kind", "text"} <= entry.keys() or not all(isinstance(text, str) for text in texts):
        return None
    if type(entry["number"]) is not int or not isinstance(entry.get("data", {}), dict):
        return None
    return Entry(**entry)


def _fault(
    incident: str, lines: Sequence[str], entries: Sequence[Entry | None], head: str, service: str, state: str
) -> Fault | None:
    previous, kind = digest(f"incident {incident}"), ""
    for number, (line, entry) in enumerate(zip(lines, entries, strict=True), 1):
        if entry is None:
            return Fault(number, "can't be read")
        if entry.hash != _hash(_content(line) or {}):
            return Fault(number, "was changed: its hash is not that of its content")
        if entry.previous != previous:
            return Fault(number, "does not follow the one before it: something was removed, added or moved")
        if entry.number != number or (entry.kind == OPENED) != (number == 1) or kind == CLOSED:
            return Fault(number, "can't be in this place")
        previous, kind = entry.hash, entry.kind
    count, first = len(lines), entries[0] if entries else None
    if first is None:
        return Fault(1, "is missing")
    if head != f"{count} {previous}":
        told = head.partition(" ")[0]
        if told.isdecimal() and int(told[:9]) > count:
            return Fault(count + 1, f"is missing: there were {told[:9]}")
        return Fault(count, "is not the one that was written last")
    if state != (CLOSED if kind == CLOSED else OPEN):
        return Fault(count, f"does not fit the label {STATE_LABEL}={state}")
    if service != first.data.get("service", ""):
        return Fault(1, f"does not fit the label {SERVICE_LABEL}={service}")
    return None


def _shown(value: Any) -> str:
    """On one line, and without what could write elsewhere on a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in _one_line(value))


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


def _span(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    past = int(abs(seconds))
    return f"{'-' if seconds < 0 else '+'}{past // 3600:02}:{past // 60 % 60:02}:{past % 60:02}"


@dataclass(frozen=True)
class Wish:
    """What is asked of the desk, with secrets hidden and nothing too long."""

    state: str
    id: str = ""
    key: str = ""
    service: str = ""
    kind: str = KINDS[0]
    text: str = ""
    by: str = ""
    data: Mapping[str, Value] = field(default_factory=dict)
    event_id: str = ""

    @classmethod
    def of(cls, params: Mapping[str, Any], *, user: str) -> Wish:
        """Make it from a module's options. Raises Invalid."""
        given: Object = {part: params.get(part) or "" for part in ("id", "key", "service", "text", "event_id")}
        wish = cls(params["state"], **given, kind=params.get("kind") or KINDS[0])
        wish._refuse_what_is_wrong()
        return replace(
            wish,
            text=_cut(mask_text(wish.text), TEXT_MAX),
            by=_cut(mask_text(params.get("by") or user), NAME_MAX),
            data=_data(params.get("data") or {}),
            event_id=mask_text(wish.event_id),
        )

    def _refuse_what_is_wrong(self) -> None:
        if self.id and not _ID.fullmatch(self.id):
            raise Invalid("an id is of lower case letters, digits and dashes, 100 at the most")
        if self.service and not _SERVICE.fullmatch(self.service):
            raise Invalid("a service is named in lower case letters, digits and dashes, 63 at the most")
        for part, value in (("key", self.key), ("event_id", self.event_id)):
            if len(value) > NAME_MAX:
                raise Invalid(f"{part} has {len(value)} characters, and {NAME_MAX} are the most")
        if self.state != REPORT and not self.text.strip():
            raise Invalid("say in text what happened")
        named = [part for part in (self.id, self.key, self.service) if part]
        if self.state == APPENDED and len(named) != 1:
            raise Invalid("name the incident by one of id, key and service")
        if self.state in (OPENED, CLOSED) and bool(self.id) == bool(self.key):
            raise Invalid("name the incident by one of id and key")
        if self.state == CLOSED and self.service:
            raise Invalid("an incident is closed by its id or its key, not by its service")

    def entry(self, now: float, kind: str) -> Entry:
        """What is written of it."""
        time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Entry(0, time, kind, self.text, self.by, self.data, self.event_id)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} (cut, of {len(text)} characters)"


def _data(given: Mapping[str, Any]) -> dict[str, Value]:
    if len(given) > PAIRS_MAX:
        raise Invalid(f"data has {len(given)} values, and {PAIRS_MAX} are the most")
    data: dict[str, Value] = {}
    for part, value in given.items():
        if not isinstance(part, str) or not 0 < len(part) <= 64:
            raise Invalid("data has names of 1 to 64 characters")
        if not isinstance(value, str | int | float | bool | None):
            raise Invalid(f"data is flat, and {part} is not one value")
        if isinstance(value, int) and abs(value) >= 2**63 or isinstance(value, float) and not math.isfinite(value):
            raise Invalid(f"data has numbers of 64 bits, and {part} is none")
        plain = "" if value is None else str(value)
        hidden = mask({"data": {part: plain}})["data"][part]
        data[part] = value if hidden == plain and not isinstance(value, str) else _cut(hidden, VALUE_MAX)
    return data


Change = Callable[[Incident], Incident]


@dataclass
class Desk:
    """Keeps the records of one namespace. In check mode the server is asked about each write, and keeps none."""

    cluster: Cluster
    namespace: str
    clock: Clock = field(default_factory=Clock)
    check_mode: bool = False

    def run(self, wish: Wish) -> Object:
        """Do what is asked, and tell what came of it."""
        if wish.state == REPORT:
            return self._report(wish)
        if wish.state == OPENED:
            return insist(lambda: self._open(wish), "the incident", sleep=self.clock.sleep)
        changes, refused = [], {}
        for incident in self._meant(wish):
            try:
                changes.append(self._change(incident, wish))
            except Invalid as error:
                # One bad record must not keep an event from the others, nor stop a release.
                if not wish.service:
                    raise
                refused[incident] = str(error)
        return self._answer(changes, refused)

    def _open(self, wish: Wish) -> Object:
        """A record with a fault is none to go on with: the next one with its key takes its place."""
        incident, faulty = wish.id, {}
        if wish.key:
            same = self._list({KEY_LABEL: digest(wish.key)[:32]})
            faulty = {one.id: _told(one) for one in same if one.fault and one.is_open}
            held = [one for one in same if one.is_open and not one.fault]
            if held:
                return self._answer([(held[-1], held[-1])], faulty)
            numbers = [int(found[1]) for found in (_NUMBER.search(one.id) for one in same) if found]
            incident = f"{stem(wish.key)}-{max(numbers, default=0) + 1}"
        elif found := self._get(wish.id):
            if found.fault or not found.is_open:
                following(found, wish.entry(self.clock.now(), OPENED))  # says why not
            return self._answer([(found, found)])
        after = opened(incident, wish.entry(self.clock.now(), OPENED), service=wish.service, key=wish.key)
        self._save(None, after)
        return self._answer([(None, after)], faulty)

    def _meant(self, wish: Wish) -> list[str]:
        """The ids of the incidents that are to be written."""
        if wish.id:
            return [wish.id]
        about = {SERVICE_LABEL: wish.service} if wish.service else {KEY_LABEL: digest(wish.key)[:32]}
        found = self._list({**about, STATE_LABEL: OPEN})
        # Of a key's incidents one is open; a bad record is in the way only when there is no other.
        return [one.id for one in (found if wish.service else [one for one in found if not one.fault][-1:] or found)]

    def _change(self, incident: str, wish: Wish) -> tuple[Incident, Incident]:
        """Write one entry behind those that others may write at the same time, unless that is done."""

        def attempt() -> tuple[Incident, Incident]:
            found = self.cluster.get("v1", "ConfigMap", name(incident), self.namespace)
            before = read(found) if found else self._expected(incident, wish)
            is_done = before.has(wish.event_id) if wish.state == APPENDED else not before.is_open
            # Between the look at a service's open incidents and this one, somebody closed it.
            if not before.fault and (is_done or (not wish.id and not before.is_open)):
                return before, before
            kind = CLOSED if wish.state == CLOSED else wish.kind
            after = following(before, wish.entry(self.clock.now(), kind))
            self._save(found, after)
            return before, after

        return insist(attempt, f"the record of incident {incident}", sleep=self.clock.sleep)

    def _expected(self, incident: str, wish: Wish) -> Incident:
        """An incident that is not there: in check mode an earlier task would have opened it."""
        if not self.check_mode:
            raise NotFound(f"there is no incident {incident} in namespace {self.namespace}")
        entry = replace(wish.entry(self.clock.now(), OPENED), text="by an earlier task", data={}, event_id="")
        return opened(incident, entry, service="", key="")

    def _save(self, found: Object | None, incident: Incident) -> None:
        try:
            wanted = written(incident, self.namespace)
            save(self.cluster, found, wanted, manager=MANAGER, dry_run=self.check_mode)
        except NotFound:
            # An earlier task would have made the namespace, or the incident.
            if not self.check_mode:
                raise

    def _get(self, incident: str) -> Incident | None:
        found = self.cluster.get("v1", "ConfigMap", name(incident), self.namespace)
        return read(found) if found else None

    def _list(self, about: Mapping[str, str]) -> list[Incident]:
        """Those with these labels, oldest first."""
        wanted = {"opsforge.dev/component": COMPONENT, **about}
        try:
            found = [read(each) for each in self.cluster.list("v1", "ConfigMap", self.namespace, wanted)]
        except NotFound:
            # An earlier task would have made the cluster.
            if not self.check_mode:
                raise
            found = []
        return sorted(found, key=lambda one: ((one.entries[0].time if one.entries and one.entries[0] else ""), one.id))

    def _report(self, wish: Wish) -> Object:
        if wish.id:
            one = self._get(wish.id)
            if one is None and not self.check_mode:
                raise NotFound(f"there is no incident {wish.id} in namespace {self.namespace}")
            found = [one] if one else []
        else:
            service = {SERVICE_LABEL: wish.service} if wish.service else {}
            found = self._list({**service, **({KEY_LABEL: digest(wish.key)[:32]} if wish.key else {})})
        told = [line for one in found for line in (self._heading(one), *timeline(one))]
        facts = [{**self._facts(one), "entries": [asdict(entry) for entry in one.entries if entry]} for one in found]
        return {"changed": False, "incidents": facts, "timeline": told, "refused": {}, "diff": []}

    def _heading(self, incident: Incident) -> str:
        past = incident.seconds(self.clock.now())
        about = f" of {_shown(incident.service)}" if incident.service else ""
        length = f" for {_span(past)[1:]}" if past is not None else ""
        fault = f"; NOT AS IT WAS WRITTEN: {incident.fault}" if incident.fault else "; as it was written"
        return f"incident {incident.id}{about}: {'open' if incident.is_open else 'closed, was open'}{length}{fault}"

    def _facts(self, incident: Incident) -> Object:
        first, last = (incident.entries[0], incident.entries[-1]) if incident.entries else (None, None)
        return {
            "id": incident.id,
            "service": incident.service,
            "key": incident.key,
            "state": incident.state,
            "opened_at": first.time if first else "",
            "closed_at": last.time if last and not incident.is_open else "",
            "duration_seconds": incident.seconds(self.clock.now()),
            "size": len(incident.lines),
            "head": incident.head,
            "intact": incident.fault is None,
            "fault": str(incident.fault or ""),
        }

    def _answer(
        self, changes: Sequence[tuple[Incident | None, Incident]], refused: Mapping[str, str] | None = None
    ) -> Object:
        moved = [(before, after) for before, after in changes if before != after]
        diff = []
        for before, after in moved:
            shown = ["".join(f"{line}\n" for line in timeline(one)) if one else "" for one in (before, after)]
            title = f"incident {after.id}"
            diff.append({"before_header": title, "after_header": title, "before": shown[0], "after": shown[1]})
        facts = [self._facts(after) for _, after in changes]
        return {"changed": bool(moved), "incidents": facts, "refused": dict(refused or {}), "diff": diff}
