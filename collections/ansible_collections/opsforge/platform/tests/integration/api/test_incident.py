# SPDX-License-Identifier: GPL-3.0-or-later
"""incident against a real API server: predicted, done once, by many at a time, and with whatever people write."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _incidents
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer, Pool
from ansible_collections.opsforge.platform.plugins.module_utils._incidents import APPENDED, CLOSED, OPENED, Desk, Wish

from .control_plane import ControlPlane
from .line import Killed

Object = dict[str, Any]
RunModule = Callable[..., Object]
# What differs between a prediction and what comes true a moment later: the time, and with it the hash.
MOMENTS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|[+-]\d\d:\d\d:\d\d|\b[0-9a-f]{64}\b|\"duration_seconds\": [^,]+")


def timeless(answer: Object) -> str:
    return MOMENTS.sub("", json.dumps({part: value for part, value in answer.items() if part != "invocation"}))


def records(cluster: Cluster, namespace: str) -> dict[str, Object]:
    found = cluster.list("v1", "ConfigMap", namespace, {"opsforge.dev/component": "incident"})
    return {one["metadata"]["name"]: one for one in found}


def entries(cluster: Cluster, namespace: str, incident: str) -> list[tuple[str, str]]:
    found = _incidents.read(records(cluster, namespace)[f"incident-{incident}"])
    assert found.fault is None
    return [(one.kind, one.text) for one in found.entries if one]


def desk(control_plane: ControlPlane, namespace: str) -> Desk:
    return Desk(connect({"kubeconfig": str(control_plane.kubeconfig)}), namespace)


def wish(state: str, **options: Any) -> Wish:
    return Wish.of({"state": state, "text": "words", **options}, user="ann")


def together(runs: list[Callable[[], Any]]) -> list[Any]:
    """Run all at the same time, and return what came of each."""
    start = threading.Barrier(len(runs))
    answers: list[Any] = [None] * len(runs)

    def go(number: int) -> None:
        start.wait()
        try:
            answers[number] = runs[number]()
        except Exception as error:
            answers[number] = error

    threads = [threading.Thread(target=go, args=(number,)) for number in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_each_step_is_predicted_and_happens_once(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    key = {"key": "alert/Slow/auth"}
    steps: list[tuple[Object, bool]] = [
        ({"state": OPENED, **key, "service": "auth", "text": "slow", "data": {"p99": 2.5}}, True),
        ({"state": APPENDED, **key, "kind": "action", "text": "restarted", "event_id": "a1"}, True),
        ({"state": APPENDED, "service": "auth", "kind": "release", "text": "1.1.0", "event_id": "r7"}, True),
        ({"state": APPENDED, "service": "orders", "text": "not here"}, False),
        ({"state": CLOSED, **key, "text": "fast for 10 minutes"}, True),
    ]
    for options, changed in steps:
        for expected in (changed, False):
            before = records(cluster, namespace)
            predicted = run_module("incident", check=True, diff=True, namespace=namespace, **options)
            assert records(cluster, namespace) == before
            done = run_module("incident", diff=True, namespace=namespace, **options)
            assert (predicted.get("changed"), done.get("changed")) == (expected, expected), (predicted, done)
            assert timeless(predicted) == timeless(done)
            assert bool(done["diff"]) is expected
            assert (records(cluster, namespace) != before) is expected
    (name,) = records(cluster, namespace)
    labels = records(cluster, namespace)[name]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "auth"
    assert labels["app.kubernetes.io/part-of"] == labels["app.kubernetes.io/managed-by"] == "opsforge"
    assert labels["opsforge.dev/incident-state"] == "closed"
    report = run_module("incident", state="report", namespace=namespace)
    (told,) = report["incidents"]
    assert [one["kind"] for one in told["entries"]] == ["opened", "action", "release", "closed"]
    assert told["intact"] and told["head"] == told["entries"][-1]["hash"]
    assert len(report["timeline"]) == 5
    assert run_module("incident", namespace=namespace, **steps[0][0])["incidents"][0]["id"] == told["id"][:-1] + "2"


def test_check_mode_before_the_namespace_or_the_cluster_exists(run_module: RunModule, tmp_path: Any) -> None:
    for place in ({}, {"kubeconfig": str(tmp_path / "none")}):
        answer = run_module("incident", check=True, state=OPENED, key="k", text="words", namespace="later", **place)
        assert answer["changed"] and not answer.get("failed"), answer
        answer = run_module("incident", check=True, state=APPENDED, service="a", text="b", namespace="later", **place)
        assert answer["changed"] is False
    refused = run_module("incident", state=OPENED, key="k", text="words", namespace="later")
    assert refused["failed"] and "later" in refused["msg"]


def test_of_many_writers_none_loses_its_entry(control_plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    desk(control_plane, namespace).run(wish(OPENED, id="fire", service="auth"))
    writers, times = 4, 6

    def write(writer: int) -> None:
        mine = desk(control_plane, namespace)
        for number in range(times):
            mine.run(wish(APPENDED, id="fire", text=f"{writer}.{number}"))

    answers = together([lambda writer=writer: write(writer) for writer in range(writers)])  # type: ignore[misc]
    assert answers == [None] * writers
    told = [text for _, text in entries(cluster, namespace, "fire")[1:]]
    assert sorted(told) == sorted(f"{writer}.{number}" for writer in range(writers) for number in range(times))
    for writer in range(writers):
        mine = [text for text in told if text.startswith(f"{writer}.")]
        assert mine == sorted(mine)


def test_of_many_alerts_one_incident_and_one_entry(
    control_plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    def alert() -> int:
        mine = desk(control_plane, namespace)
        opened = mine.run(wish(OPENED, key="alert/Slow/auth", service="auth"))["changed"]
        return int(opened) + int(mine.run(wish(APPENDED, service="auth", event_id="e"))["changed"])

    assert sum(together([alert] * 6)) == 2
    (record,) = records(cluster, namespace).values()
    assert len(_incidents.read(record).entries) == 2


def test_of_two_who_close_one_does_and_none_writes_after_it(
    control_plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    desk(control_plane, namespace).run(wish(OPENED, id="fire"))
    close = [lambda: desk(control_plane, namespace).run(wish(CLOSED, id="fire"))["changed"]] * 2
    append = [lambda: desk(control_plane, namespace).run(wish(APPENDED, id="fire", text="late"))["changed"]] * 2
    *closed, first, second = together([*close, *append])
    assert sorted(closed) == [False, True]
    told = entries(cluster, namespace, "fire")
    assert told[-1][0] == "closed"
    for answer in (first, second):
        assert answer is True or (isinstance(answer, Invalid) and "is closed" in str(answer)), answer
    assert [text for _, text in told].count("late") == [first, second].count(True)


class Cut(Pool):
    """The run is killed at its first write, before the server has it or after."""

    def __init__(self, pool: Pool, *, after: bool) -> None:
        super().__init__(pool.endpoint)
        self._pool, self._after = pool, after

    def request(self, method: str, *args: Any, **kwargs: Any) -> Answer:
        if method != "GET" and not self._after:
            raise Killed
        answer = self._pool.request(method, *args, **kwargs)
        if method != "GET":
            raise Killed
        return answer


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_that_is_killed_is_finished_by_the_next_one(
    control_plane: ControlPlane, cluster: Cluster, namespace: str, after: bool
) -> None:
    steps = [
        wish(OPENED, key="k", service="auth", text="slow"),
        wish(APPENDED, service="auth", event_id="e", text="restarted"),
        wish(CLOSED, key="k", text="fast"),
    ]
    for step in steps:
        mine = desk(control_plane, namespace)
        mine.cluster = Cluster(Cut(mine.cluster._pool, after=after))  # type: ignore[attr-defined]
        with pytest.raises(Killed):
            mine.run(step)
        assert all(_incidents.read(one).fault is None for one in records(cluster, namespace).values())
        assert desk(control_plane, namespace).run(step)["changed"] is not after
    (name,) = records(cluster, namespace)
    assert entries(cluster, namespace, name.removeprefix("incident-")) == [
        ("opened", "slow"),
        ("event", "restarted"),
        ("closed", "fast"),
    ]


HOSTILE = [
    '"}\n{"number": 2, "kind": "closed", "text": "all is well"}',
    "a\r\nb\x00c\x1b[2J\x85d\N{LINE SEPARATOR}e\x7f",
    "{{ lookup('pipe', 'id') }} ${PATH} $(id) `id` %s %(a)s {0}",
    "\N{FIRE}\N{RIGHT-TO-LEFT OVERRIDE}\ufeff\ufffe",
    "'; DROP TABLE incidents; -- &amp; <script>",
    "x" * 10_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_stay_texts(run_module: RunModule, cluster: Cluster, namespace: str, text: str) -> None:
    short = text[:200]
    common = {"namespace": namespace, "text": text, "by": text, "data": {short[:64]: text, "plain": text}}
    opened = run_module("incident", diff=True, state=OPENED, key=short, **common)
    assert opened.get("changed"), opened
    event = {"state": APPENDED, "key": short, "event_id": short, **common}
    assert run_module("incident", diff=True, **event)["changed"]
    assert not run_module("incident", **event)["changed"]
    assert run_module("incident", diff=True, state=CLOSED, key=short, **common)["changed"]
    report = run_module("incident", state="report", namespace=namespace, key=short)
    (told,) = report["incidents"]
    assert [one["kind"] for one in told["entries"]] == ["opened", "event", "closed"]
    assert told["intact"] and told["fault"] == ""
    assert told["entries"][0]["text"][:2000] == text[:2000]
    assert all(line.isprintable() for line in report["timeline"])
    assert len(report["timeline"]) == 4


def test_what_was_tampered_with_is_named_and_left_alone(
    run_module: RunModule, cluster: Cluster, namespace: str
) -> None:
    where = {"namespace": namespace, "text": "words"}
    for incident in ("bad", "good"):
        run_module("incident", state=OPENED, id=incident, service="auth", **where)
        run_module("incident", state=APPENDED, id=incident, **where)
    record = records(cluster, namespace)["incident-bad"]
    record["data"]["entries"] = record["data"]["entries"].replace("words", "wards")
    cluster.replace(record)
    before = records(cluster, namespace)["incident-bad"]
    for state in (APPENDED, CLOSED):
        for check in (True, False):
            answer = run_module("incident", check=check, state=state, id="bad", **where)
            assert answer["failed"] and "(entry 1 was changed: its hash is not that of its content)" in answer["msg"]
    answer = run_module("incident", state=APPENDED, service="auth", **where)
    assert answer["changed"] and list(answer["refused"]) == ["bad"] and not answer.get("failed")
    assert "entry 1 was changed" in str(answer["warnings"])
    report = run_module("incident", state="report", namespace=namespace, service="auth")
    assert [(one["id"], one["intact"], one["size"]) for one in report["incidents"]] == [
        ("bad", False, 2),
        ("good", True, 3),
    ]
    assert "entry 1 was changed" in str(report["warnings"])
    assert records(cluster, namespace)["incident-bad"] == before


def test_the_server_lets_nobody_change_what_is_closed(run_module: RunModule, cluster: Cluster, namespace: str) -> None:
    run_module("incident", state=OPENED, id="fire", namespace=namespace, text="it burns")
    run_module("incident", state=CLOSED, id="fire", namespace=namespace, text="it is out")
    record = records(cluster, namespace)["incident-fire"]
    record["data"]["entries"] = record["data"]["entries"].replace("burns", "rains")
    with pytest.raises(Invalid, match="immutable"):
        cluster.replace(record)


def test_a_full_record_fits_the_server(control_plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    mine = desk(control_plane, namespace)
    longest = {"text": "\N{FIRE}" * 2000, "data": {f"{number:064}": "\N{FIRE}" * 300 for number in range(16)}}
    mine.run(wish(OPENED, id="fire", **longest))
    with pytest.raises(Invalid, match="is full"):
        for _ in range(100):
            mine.run(wish(APPENDED, id="fire", **longest))
    assert mine.run(wish(CLOSED, id="fire", **longest))["changed"]
    size = len(records(cluster, namespace)["incident-fire"]["data"]["entries"])
    assert 700_000 < size < 1_000_000
    assert entries(cluster, namespace, "fire")[-1][0] == "closed"
