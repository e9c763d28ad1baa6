# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of an incident: what was tampered with is named, nobody's entry is lost, and nothing is said twice."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _incidents
from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict, Invalid, NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._incidents import (
    APPENDED,
    CLOSED,
    OPENED,
    REPORT,
    Desk,
    Entry,
    Incident,
    Wish,
)

from .fake_cluster import FakeCluster

Object = dict[str, Any]
NOON = 1_769_860_800  # 2026-01-31T12:00:00Z
SECRET = "hunter2-hunter2"


def entry(text: str = "words", kind: str = "event", **given: Any) -> Entry:
    return Entry(0, "2026-01-31T12:00:00Z", kind, text, **given)


def story(*texts: str, closed: bool = False) -> Incident:
    """An incident of auth with these entries after its first."""
    incident = _incidents.opened("fire", entry("it burns"), service="auth", key="")
    for text in texts:
        incident = _incidents.following(incident, entry(text, event_id=f"id of {text}"))
    return _incidents.following(incident, entry("it is out", CLOSED)) if closed else incident


def kept(incident: Incident) -> Object:
    """As the server has it."""
    return {"apiVersion": "v1", "kind": "ConfigMap", **_incidents.written(incident, "apps")}


class Office(FakeCluster):
    """A cluster with a desk on which each run takes place a second after the one before."""

    def run(self, state: str, *, check: bool = False, **options: Any) -> Object:
        times = itertools.count(NOON + len(self.writes))
        clock = Clock(now=lambda: next(times), sleep=lambda _: None)
        options.setdefault("text", "words")
        return Desk(self, "apps", clock, check).run(Wish.of({"state": state, **options}, user="ann"))

    def record(self, incident: str) -> Incident:
        found = self.get("v1", "ConfigMap", f"incident-{incident}", "apps")
        assert found is not None
        return _incidents.read(found)

    def texts(self, incident: str) -> list[str]:
        return [one.text for one in self.record(incident).entries if one]

    def tamper(self, incident: str, old: str, new: str) -> None:
        found = self.get("v1", "ConfigMap", f"incident-{incident}", "apps")
        assert found is not None and old in found["data"]["entries"]
        found["data"]["entries"] = found["data"]["entries"].replace(old, new)
        self.put(found)


# -- the chain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_what_was_written_is_read_and_intact(closed: bool) -> None:
    incident = story("one", "two", closed=closed)
    found = _incidents.read(kept(incident))
    assert found == incident
    assert found.fault is None
    assert found.is_open is not closed
    assert [one.kind for one in found.entries if one] == [OPENED, "event", "event"] + [CLOSED] * closed
    assert kept(incident).get("immutable", False) is closed


def lines_of(record: Object) -> list[str]:
    return str(record["data"]["entries"]).splitlines()


def with_lines(change: Callable[[list[str]], list[str]]) -> Callable[[Object], None]:
    def tamper(record: Object) -> None:
        record["data"]["entries"] = "".join(f"{line}\n" for line in change(lines_of(record)))

    return tamper


def resealed(record: Object) -> None:
    """Somebody who can count hashes changed the second entry and sealed it again."""
    lines = lines_of(record)
    content = json.loads(lines[1])
    found = Entry(**{**content, "text": "nothing happened"})
    lines[1] = _incidents.canonical(_incidents.asdict(_incidents.sealed(found)))
    record["data"]["entries"] = "".join(f"{line}\n" for line in lines)


def in_another_record(record: Object) -> None:
    record["metadata"]["name"] = "incident-other"


def relabelled(label: str, value: str) -> Callable[[Object], None]:
    return lambda record: record["metadata"]["labels"].update({label: value})


def with_head(head: str) -> Callable[[Object], None]:
    return lambda record: record["data"].update({"head": head})


def on_one_line(record: Object) -> None:
    """The same to whoever takes this for an end of a line."""
    record["data"]["entries"] = record["data"]["entries"].replace("\n", "\N{LINE SEPARATOR}", 1)


def extra(record: Object) -> None:
    """An entry behind the last one that fits, but for the head."""
    more = _incidents.following(story("one", "two"), entry("and so it was"))
    record["data"]["entries"] = kept(more)["data"]["entries"]


@pytest.mark.parametrize(
    "tamper, number, words",
    [
        pytest.param(with_lines(lambda was: [line.replace("one", "uno") for line in was]), 2, "was changed", id="text"),
        pytest.param(with_lines(lambda was: [was[0], *was[2:]]), 2, "does not follow", id="removed"),
        pytest.param(with_lines(lambda was: [was[0], was[2], was[1]]), 2, "does not follow", id="moved"),
        pytest.param(with_lines(lambda was: [was[0], was[0], *was[1:]]), 2, "does not follow", id="twice"),
        pytest.param(with_lines(lambda was: was[:2]), 3, "is missing: there were 3", id="end cut off"),
        pytest.param(with_lines(lambda was: []), 1, "is missing", id="empty"),
        pytest.param(with_lines(lambda was: was[1:]), 1, "does not follow", id="beginning cut off"),
        pytest.param(with_lines(lambda was: [was[0], "{}", *was[1:]]), 2, "can't be read", id="nothing"),
        pytest.param(with_lines(lambda was: [was[0], "[" * 100_000]), 2, "can't be read", id="deep"),
        pytest.param(with_lines(lambda was: [was[0], "", *was[1:]]), 2, "can't be read", id="empty line"),
        pytest.param(with_lines(lambda was: [was[0], " " + was[1]]), 2, "can't be read", id="written otherwise"),
        pytest.param(
            with_lines(lambda was: [was[0], was[1].replace("{", '{"by":"eve",', 1), was[2]]), 2, "can't be read",
            id="a name twice",
        ),
        pytest.param(on_one_line, 1, "can't be read", id="on one line"),
        pytest.param(resealed, 3, "does not follow", id="sealed again"),
        pytest.param(in_another_record, 1, "does not follow", id="another incident's"),
        pytest.param(extra, 4, "is not the one that was written last", id="added"),
        pytest.param(with_head(""), 3, "is not the one that was written last", id="no head"),
        pytest.param(relabelled("opsforge.dev/incident-state", "closed"), 3, "label", id="hidden"),
        pytest.param(relabelled("app.kubernetes.io/name", "orders"), 1, "label", id="another service's"),
    ],
)  # fmt: skip
def test_the_first_bad_entry_is_named_and_nothing_follows(
    tamper: Callable[[Object], None], number: int, words: str
) -> None:
    record = kept(story("one", "two"))
    tamper(record)
    found = _incidents.read(record)
    assert found.fault is not None
    assert (found.fault.number, words in found.fault.why) == (number, True), found.fault
    with pytest.raises(Invalid, match="is not as it was written .entry .* open another incident"):
        _incidents.following(found, entry())
    _incidents.timeline(found)


def test_the_whole_record_forged_is_another_head() -> None:
    """Hashes have no key: this is what they can't show, and what a head kept elsewhere does."""
    forged = story("uno", "two")
    assert _incidents.read(kept(forged)).fault is None
    assert forged.head != story("one", "two").head


def test_a_bad_entry_is_marked_and_all_that_follow_with_it() -> None:
    record = kept(story("one", "two"))
    with_lines(lambda was: [was[0], "nonsense", was[2]])(record)
    lines = _incidents.timeline(_incidents.read(record))
    assert [line[:1] for line in lines] == [" ", "!", "!"]
    assert "nobody can read" in lines[1] and "two" in lines[2]


def test_a_newer_versions_field_is_covered_by_the_hash_and_passed_over() -> None:
    incident = story()
    content = json.loads(incident.lines[0])
    content["colour"] = "red"
    content["hash"] = _incidents._hash(content)
    line = _incidents.canonical(content)
    record = kept(incident)
    record["data"] = {"entries": f"{line}\n", "head": f"1 {content['hash']}"}
    assert _incidents.read(record).fault is None
    record["data"]["entries"] = f"{line}\n".replace("red", "blue")
    assert str(_incidents.read(record).fault).startswith("entry 1 was changed")


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_a_full_record_says_so_and_can_be_closed() -> None:
    incident = story()
    longest = Wish.of(
        {
            "state": APPENDED,
            "id": "x",
            "text": "\N{FIRE}" * 9000,
            "data": {f"{number:064}": "\N{FIRE}" * 999 for number in range(16)},
            "event_id": "\N{FIRE}" * 200,
            "by": "\N{FIRE}" * 999,
        },
        user="",
    ).entry(NOON, "event")
    with pytest.raises(Invalid, match=r"fire is full \(\d+ entries, 8\d+ bytes with this one\): close it"):
        for _ in range(1000):
            incident = _incidents.following(incident, longest)
    record = kept(_incidents.following(incident, _incidents.replace(longest, kind=CLOSED)))
    assert len(json.dumps(record)) < 1_000_000 + 50_000  # the server counts the data, and not how it is sent
    assert sum(len(value) for value in record["data"].values()) < 1_000_000
    assert _incidents.read(record).fault is None


def test_long_texts_are_cut_and_say_so() -> None:
    wish = Wish.of({"state": APPENDED, "id": "x", "text": "x" * 5000, "data": {"a": "y" * 400}}, user="ann")
    assert wish.text == "x" * 2000 + " (cut, of 5000 characters)"
    assert wish.data == {"a": "y" * 300 + " (cut, of 400 characters)"}


def test_secrets_are_hidden_before_anything_is_cut_or_written() -> None:
    cluster = Office()
    options: Object = {
        "data": {"db_password": SECRET, "pin_token": 12345, "url": f"http://a:{SECRET}@b/"},
        "by": f"token={SECRET}",
    }
    password = "x" * 1970 + f" password: {SECRET}"
    url = "x" * 1980 + f" http://a:{SECRET}@b/"
    answers = [
        cluster.run(OPENED, key=f"login token={SECRET}", text=password, **options),
        cluster.run(APPENDED, key=f"login token={SECRET}", event_id=f"secret={SECRET}", text=url, **options),
        cluster.run(CLOSED, key=f"login token={SECRET}", text=password, **options),
    ]
    said = json.dumps([answers, list(cluster.objects.values())], default=str)
    assert SECRET[:4] not in said
    assert "12345" not in said


@pytest.mark.parametrize(
    "options, words",
    [
        ({"state": OPENED}, "by one of id and key"),
        ({"state": OPENED, "id": "a", "key": "b"}, "by one of id and key"),
        ({"state": OPENED, "service": "auth"}, "by one of id and key"),
        ({"state": APPENDED}, "by one of id, key and service"),
        ({"state": APPENDED, "id": "a", "service": "auth"}, "by one of id, key and service"),
        ({"state": CLOSED, "service": "auth"}, "by one of id and key"),
        ({"state": CLOSED, "id": "a", "service": "auth"}, "not by its service"),
        ({"state": OPENED, "id": "A"}, "lower case"),
        ({"state": OPENED, "id": "a/../b"}, "lower case"),
        ({"state": OPENED, "id": "a\n"}, "lower case"),
        ({"state": OPENED, "id": "a" * 101}, "100 at the most"),
        ({"state": OPENED, "key": "a", "service": "a,b=c"}, "lower case"),
        ({"state": OPENED, "key": "a" * 201}, "201 characters"),
        ({"state": APPENDED, "id": "a", "event_id": "a" * 201}, "201 characters"),
        ({"state": OPENED, "key": "a", "text": " \n"}, "what happened"),
        ({"state": CLOSED, "key": "a", "text": ""}, "what happened"),
        ({"state": APPENDED, "id": "a", "data": {"a": [1]}}, "flat, and a is not"),
        ({"state": APPENDED, "id": "a", "data": {"": 1}}, "1 to 64"),
        ({"state": APPENDED, "id": "a", "data": {"a": float("nan")}}, "64 bits"),
        ({"state": APPENDED, "id": "a", "data": {"a": 10**5000}}, "64 bits"),
        ({"state": APPENDED, "id": "a", "data": {str(n): n for n in range(17)}}, "17 values"),
    ],
)
def test_a_wrong_wish_is_refused_before_anything_is_asked(options: Object, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        Wish.of({"text": "words", **options}, user="ann")


# -- the desk ---------------------------------------------------------------------------------------------------------


def test_opened_once_while_it_is_open_and_anew_afterwards() -> None:
    cluster = Office()
    first = cluster.run(OPENED, key="alert/Slow/auth", service="auth")
    again = cluster.run(OPENED, key="alert/Slow/auth", service="auth", text="others")
    assert (first["changed"], again["changed"]) == (True, False)
    assert [one["id"] for one in first["incidents"]] == [one["id"] for one in again["incidents"]]
    assert cluster.texts(first["incidents"][0]["id"]) == ["words"]
    cluster.run(CLOSED, key="alert/Slow/auth")
    third = cluster.run(OPENED, key="alert/Slow/auth")
    assert third["changed"]
    assert third["incidents"][0]["id"] == first["incidents"][0]["id"].removesuffix("1") + "2"


@pytest.mark.parametrize(
    "one, other", [("a b", "a-b"), ("A", "a"), ("\N{FIRE}", "\N{DROPLET}"), ("token=a", "token=b")]
)
def test_two_keys_never_share_an_incident(one: str, other: str) -> None:
    cluster = Office()
    ids = [cluster.run(OPENED, key=key)["incidents"][0]["id"] for key in (one, other)]
    assert len(set(ids)) == 2
    assert all(_incidents._ID.fullmatch(incident) for incident in ids)


def test_an_id_is_used_once() -> None:
    cluster = Office()
    assert cluster.run(OPENED, id="fire")["changed"]
    assert not cluster.run(OPENED, id="fire")["changed"]
    cluster.run(CLOSED, id="fire")
    with pytest.raises(Invalid, match="fire is closed"):
        cluster.run(OPENED, id="fire")


def test_an_event_is_told_once_and_what_has_no_name_each_time() -> None:
    cluster = Office()
    cluster.run(OPENED, id="fire")
    assert cluster.run(APPENDED, id="fire", event_id="release/auth/7")["changed"]
    assert not cluster.run(APPENDED, id="fire", event_id="release/auth/7", text="others")["changed"]
    assert cluster.run(APPENDED, id="fire")["changed"] and cluster.run(APPENDED, id="fire")["changed"]
    assert cluster.record("fire").entries[-1].number == 4  # type: ignore[union-attr]
    cluster.run(CLOSED, id="fire")
    assert not cluster.run(APPENDED, id="fire", event_id="release/auth/7")["changed"]
    with pytest.raises(Invalid, match="fire is closed"):
        cluster.run(APPENDED, id="fire", event_id="release/auth/8")


def test_closing_twice_changes_nothing() -> None:
    cluster = Office()
    cluster.run(OPENED, key="k")
    assert cluster.run(CLOSED, key="k", text="it serves")["changed"]
    (record,) = cluster.objects.values()
    assert record["immutable"] is True
    assert record["metadata"]["labels"]["opsforge.dev/incident-state"] == "closed"
    answer = cluster.run(CLOSED, key="k")
    assert (answer["changed"], answer["incidents"]) == (False, [])
    (incident,) = cluster.run(REPORT, key="k")["incidents"]
    assert not cluster.run(CLOSED, id=incident["id"])["changed"]
    assert (incident["state"], incident["duration_seconds"]) == ("closed", 1)
    assert incident["closed_at"] == "2026-01-31T12:00:01Z"


def test_an_event_of_a_service_reaches_its_open_incidents_only() -> None:
    cluster = Office()
    for incident, service in (("one", "auth"), ("two", "auth"), ("other", "orders"), ("none", "")):
        cluster.run(OPENED, id=incident, service=service)
    cluster.run(OPENED, id="over", service="auth")
    cluster.run(CLOSED, id="over")
    answer = cluster.run(APPENDED, service="auth", kind="release", event_id="r7", text="1.1.0 serves")
    assert [one["id"] for one in answer["incidents"]] == ["one", "two"]
    assert cluster.texts("one") == cluster.texts("two") == ["words", "1.1.0 serves"]
    assert not cluster.run(APPENDED, service="auth", event_id="r7")["changed"]
    none = cluster.run(APPENDED, service="payments")
    assert (none["changed"], none["incidents"], none["diff"]) == (False, [], [])


def test_a_bad_record_is_refused_by_name_and_passed_by_for_a_service() -> None:
    cluster = Office()
    cluster.run(OPENED, id="bad", service="auth")
    cluster.run(OPENED, id="good", service="auth")
    cluster.run(APPENDED, id="bad", event_id="known", text="more")
    cluster.tamper("bad", "words", "swords")
    before = cluster.objects["v1", "ConfigMap", "apps", "incident-bad"]
    for state in (OPENED, APPENDED, CLOSED):
        with pytest.raises(Invalid, match=r"incident bad is not as it was written \(entry 1 was changed"):
            cluster.run(state, id="bad", event_id="known")
    answer = cluster.run(APPENDED, service="auth")
    assert (answer["changed"], list(answer["refused"])) == (True, ["bad"])
    assert cluster.texts("good") == ["words", "words"]
    assert cluster.objects["v1", "ConfigMap", "apps", "incident-bad"] == before
    report = cluster.run(REPORT, service="auth")
    assert [(one["id"], one["intact"]) for one in report["incidents"]] == [("bad", False), ("good", True)]
    assert any("NOT AS IT WAS WRITTEN: entry 1 was changed" in line for line in report["timeline"])


def test_a_key_whose_record_is_bad_gets_another_incident_and_says_so() -> None:
    cluster = Office()
    bad = cluster.run(OPENED, key="k")["incidents"][0]["id"]
    cluster.tamper(bad, "words", "swords")
    for state in (APPENDED, CLOSED):
        with pytest.raises(Invalid, match="is not as it was written"):
            cluster.run(state, key="k")
    for changed in (True, False):
        answer = cluster.run(OPENED, key="k")
        assert (answer["changed"], list(answer["refused"])) == (changed, [bad])
        assert answer["incidents"][0]["id"] == bad.removesuffix("1") + "2"
    assert cluster.run(APPENDED, key="k")["changed"]
    assert cluster.run(CLOSED, key="k")["changed"]


def test_what_is_not_there() -> None:
    cluster = Office()
    for state in (APPENDED, CLOSED, REPORT):
        with pytest.raises(NotFound, match="no incident fire in namespace apps"):
            cluster.run(state, id="fire")
    assert cluster.run(REPORT)["incidents"] == []


def test_labels_of_others_stay() -> None:
    cluster = Office()
    cluster.run(OPENED, id="fire")
    found = cluster.objects["v1", "ConfigMap", "apps", "incident-fire"]
    found["metadata"]["labels"]["team"] = "sre"
    found["metadata"]["annotations"] = {"ticket": "7"}
    cluster.put(found)
    cluster.run(CLOSED, id="fire")
    metadata = cluster.objects["v1", "ConfigMap", "apps", "incident-fire"]["metadata"]
    assert (metadata["labels"]["team"], metadata["annotations"]) == ("sre", {"ticket": "7"})


class Busy(Office):
    """Somebody else appends first, so many times."""

    times = 0

    def replace(self, obj: Object, **kwargs: Any) -> Object:
        if self.times > 0:
            self.times -= 1
            live = self.objects["v1", "ConfigMap", "apps", obj["metadata"]["name"]]
            after = _incidents.following(_incidents.read(live), entry(f"theirs {self.times}"))
            self.put({"apiVersion": "v1", "kind": "ConfigMap", **_incidents.written(after, "apps")})
        return super().replace(obj, **kwargs)


def test_a_lost_race_is_run_again_and_keeps_both() -> None:
    cluster = Busy()
    cluster.run(OPENED, id="fire")
    cluster.times = 2
    cluster.run(APPENDED, id="fire", text="mine")
    assert cluster.texts("fire") == ["words", "theirs 1", "theirs 0", "mine"]
    assert cluster.record("fire").fault is None


def test_a_race_that_is_always_lost_ends() -> None:
    cluster = Busy()
    cluster.run(OPENED, id="fire")
    cluster.times = 99
    with pytest.raises(Conflict, match="others wrote the record of incident fire first, 20 times"):
        cluster.run(APPENDED, id="fire", text="mine")
    assert "mine" not in cluster.texts("fire")


class Late(Office):
    """Somebody closes the incident between the look at a service's incidents and the write."""

    def list(self, *args: Any, **kwargs: Any) -> list[Object]:
        found = super().list(*args, **kwargs)
        for record in found:
            after = _incidents.following(_incidents.read(record), entry("over", CLOSED))
            self.put({"apiVersion": "v1", "kind": "ConfigMap", **_incidents.written(after, "apps")})
        return found


def test_an_incident_that_ends_meanwhile_takes_no_event_of_its_service() -> None:
    cluster = Late()
    cluster.run(OPENED, id="fire", service="auth")
    answer = cluster.run(APPENDED, service="auth")
    assert (answer["changed"], answer["refused"]) == (False, {})
    assert cluster.texts("fire") == ["words", "over"]


def test_a_run_that_is_killed_leaves_the_record_with_or_without_the_entry() -> None:
    """Each entry is one write: there is nothing in between that a kill could leave behind."""
    cluster = Office()
    for state in (OPENED, APPENDED, CLOSED):
        before = len(cluster.writes)
        cluster.run(state, key="k")
        assert len(cluster.writes) == before + 1


def test_check_mode_predicts_and_writes_nothing() -> None:
    cluster = Office()
    steps: list[tuple[str, Object]] = [
        (OPENED, {"id": "fire", "service": "auth"}),
        (OPENED, {"id": "fire"}),
        (APPENDED, {"id": "fire", "event_id": "e"}),
        (APPENDED, {"service": "auth", "event_id": "e"}),
        (CLOSED, {"id": "fire"}),
        (CLOSED, {"id": "fire"}),
    ]
    for state, options in steps:
        before = len(cluster.writes)
        predicted = cluster.run(state, check=True, **options)
        assert len(cluster.writes) == before
        assert predicted == cluster.run(state, **options)


def test_check_mode_counts_what_is_not_there_as_opened_before() -> None:
    cluster = Office()
    answer = cluster.run(APPENDED, id="fire", check=True)
    assert answer["changed"] and len(answer["diff"][0]["after"].splitlines()) == 2
    assert cluster.run(CLOSED, id="fire", check=True)["changed"]
    assert cluster.run(REPORT, id="fire", check=True)["incidents"] == []
    assert cluster.objects == {}


def test_the_timeline_is_aligned_and_writes_nowhere_else() -> None:
    cluster = Office()
    cluster.run(OPENED, id="fire", service="auth", text="first\nsecond\x1b[2J", data={"b": 2, "a": "x"})
    cluster.run(APPENDED, id="fire", kind="note", text="third")
    head, first, second = cluster.run(REPORT, id="fire")["timeline"]
    assert head.startswith("incident fire of auth: open for 00:00:0")
    assert head.endswith("; as it was written")
    assert "first second\N{REPLACEMENT CHARACTER}[2J (a=x b=2 service=auth)" in first
    assert first.index("first") == second.index("third")
    assert "+00:00:01" in second
