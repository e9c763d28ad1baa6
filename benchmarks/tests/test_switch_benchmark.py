# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch benchmark counts what clients saw, and its load goes to this machine only."""

from __future__ import annotations

import argparse
import asyncio
import copy
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from benchmarks import _argo, _load, _moves, switch
from benchmarks._load import Request
from benchmarks._moves import BenchmarkError, Move, Seen
from benchmarks._report import Report

OLD, NEW = '"slot":"blue"', '"slot":"green"'


def request(due: float, ended: float, body: str, status: int = 200) -> Request:
    return Request(due, due, ended, kept=False, status=status, body=f"{{{body}}}")


MOVE = Move("ours", OLD, NEW, decided=10.0, watched_until=13.0)
REQUESTS = [
    request(9.0, 9.01, OLD),  # before
    request(9.99, 10.02, OLD),  # on its way at the decision: seen as old, counted for whoever was before
    request(10.1, 10.15, NEW),
    request(10.11, 10.3, OLD),  # the last old one, after the first new one
    request(10.5, 10.52, "", status=503),
    request(11.0, 11.02, NEW),
    request(12.99, 13.2, OLD),  # was on its way when the next move made the old version the new one
    request(13.5, 13.6, OLD),  # the next move
]


def test_what_clients_saw_of_a_move() -> None:
    (seen,) = _moves.see([MOVE], REQUESTS)
    assert (seen.requests, seen.lost) == (5, 1)
    assert seen.first_new == pytest.approx(0.15)
    assert seen.last_old == pytest.approx(0.3)


def test_moves_back_and_forth_are_told_apart() -> None:
    back = Move("ours", NEW, OLD, decided=13.0, watched_until=16.0, is_rollback=True)
    there, again = _moves.see([MOVE, back], [*REQUESTS, request(13.1, 13.4, NEW), request(16.5, 16.6, NEW)])
    assert (there.requests, there.last_old) == (5, pytest.approx(0.3))
    assert (again.requests, again.lost) == (2, 0)
    assert again.first_new == pytest.approx(0.6)
    assert again.last_old == pytest.approx(0.4)


def test_traffic_that_never_moved_is_no_measurement() -> None:
    (seen,) = _moves.see([MOVE], [request(10.1, 10.2, OLD)])
    assert seen.first_new is None
    with pytest.raises(BenchmarkError, match="never answered"):
        _moves.record(Report("switch"), MOVE, seen)


def test_a_ratio_above_one_says_that_ours_is_faster() -> None:
    report = Report("switch")
    for arm, seconds in (("ours", 0.1), ("kubectl_patch", 0.3)):
        move = Move(arm, OLD, NEW, 0, 1, is_rollback=True)
        _moves.record(report, move, Seen(requests=300, lost=0, first_new=seconds / 2, last_old=seconds))
    _moves.summarize(report)
    assert report.summary["ratio_vs_kubectl_patch"] == pytest.approx(3)
    assert report.summary["ratio_vs_argo"] is None
    assert (report.summary["requests"], report.summary["lost"]) == (300, 0)
    assert report.summary["rollback_seconds_p50"] == pytest.approx(0.05)


def test_a_release_and_a_rollback_are_also_compared_apart() -> None:
    report = Report("switch")
    for arm, release, rollback in (("ours", 0.2, 0.1), ("argo", 0.1, 0.2)):
        for is_rollback, seconds in ((False, release), (True, rollback)):
            move = Move(arm, OLD, NEW, 0, 1, is_rollback)
            _moves.record(report, move, Seen(requests=300, lost=0, first_new=seconds, last_old=seconds))
    _moves.summarize(report)
    assert report.summary["ratio_vs_argo"] == pytest.approx(1)
    assert report.summary["ratio_vs_argo_release"] == pytest.approx(0.5)
    assert report.summary["ratio_vs_argo_rollback"] == pytest.approx(2)


def test_a_line_of_the_log_is_read_as_it_was_written() -> None:
    wanted = Request(1.5, 1.500001, 1.75, kept=True, status=200, body='{"slot":"blue"}')
    assert Request.parse(wanted.line()) == wanted
    assert not wanted.is_lost
    assert Request.parse(request(1, 2, "a\tb\nc", status=503).line()).is_lost


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "0.0.0.0"])
def test_load_goes_to_this_machine_only(host: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log, pytest.raises(ValueError, match="not a loopback address"):
        _load.Generator(f"http://{host}/", 1, log)


def test_half_of_the_load_is_kept_alive_and_all_of_it_is_answered(tmp_path: Path) -> None:
    log = tmp_path / "log"
    asyncio.run(_load.lateness(200, 0.5, log))
    requests = [Request.parse(line) for line in log.read_text().splitlines()]
    assert len(requests) == 100
    assert sum(found.kept for found in requests) == 50
    assert not any(found.is_lost for found in requests)


def test_load_on_a_target_that_is_down_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load, "UNANSWERED_IN_A_ROW_MAX", 20)
    log = tmp_path / "log"
    with log.open("w") as sink:
        asyncio.run(_load.Generator("http://127.0.0.1:1/", 1000, sink).run(60))
    requests = [Request.parse(line) for line in log.read_text().splitlines()]
    assert 20 < len(requests) < 200
    assert all(found.is_lost for found in requests)


class Failing(_load._Answer):
    """Answers each request with an error."""

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")


def test_load_goes_on_at_a_target_that_answers_with_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_load, "UNANSWERED_IN_A_ROW_MAX", 20)
    log = tmp_path / "log"

    async def run() -> None:
        async with await asyncio.get_running_loop().create_server(Failing, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with log.open("w") as sink:
                await _load.Generator(f"http://127.0.0.1:{port}/", 200, sink).run(0.5)

    asyncio.run(run())
    assert [Request.parse(line).status for line in log.read_text().splitlines()] == [500] * 100


@pytest.mark.parametrize(("rounds", "times"), [(10, 4), (500, 6), (3, 3), (1, 1), (2, 0)])
def test_an_arm_has_its_turns_and_they_are_spread_evenly(rounds: int, times: int) -> None:
    turns = switch.Turns(rounds, 0, 0, 0, 0)
    had = [number for number in range(rounds) if turns.has(times, number)]
    assert len(had) == times
    assert all(rounds // times <= after - before <= -(-rounds // times) for before, after in pairwise(had))


def test_a_run_for_so_many_requests_has_the_rounds_for_them() -> None:
    chosen = argparse.Namespace(switches=20, commands=4, rollings=4, promotions=6, requests=0, rate=500.0)
    assert switch.Turns.of(chosen).rounds == 10
    chosen.requests = 1_000_000
    turns = switch.Turns.of(chosen)
    assert turns.rounds * 2 * switch.WATCH_SECONDS * chosen.rate >= chosen.requests
    assert turns.patches == 10


POD = {
    "metadata": {"labels": {"app.kubernetes.io/name": "auth", "opsforge.dev/slot": "blue"}},
    "spec": {
        "containers": [{"name": "auth", "env": [{"name": "OPSFORGE_VERSION", "value": "bench-1"}, {"name": "OTHER"}]}],
        "topologySpreadConstraints": [{"labelSelector": {"matchLabels": {"app.kubernetes.io/name": "auth"}}}],
    },
}
LIVE = {
    "Deployment": {"template": POD},
    "Service": {"ports": [{"port": 80}], "selector": {"app.kubernetes.io/name": "auth"}},
    "NetworkPolicy": {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "auth"}}},
    "HTTPRoute": {"rules": [{"filters": ["rewrite"], "matches": ["/auth"], "backendRefs": ["auth"]}]},
}


class Live:
    """A cluster that has one object of each kind."""

    def get(self, api_version: str, kind: str, name: str, namespace: str) -> dict[str, Any]:
        return {"spec": copy.deepcopy(LIVE[kind])}


def test_the_rollout_of_argo_is_the_service_again_and_gets_none_of_its_traffic() -> None:
    original = _argo.Original(cast(Cluster, Live()), "apps", "auth", "blue", 2)
    template = _argo.named(original.template(), "auth", "argo-7")
    objects = {(one["kind"], one["metadata"]["namespace"]): one for one in original.objects(template)}
    rollout = objects["Rollout", "apps"]["spec"]
    labels = rollout["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] != "auth"
    assert "opsforge.dev/slot" not in labels
    assert labels.items() >= rollout["selector"]["matchLabels"].items()
    assert rollout["template"]["spec"]["containers"][0]["env"] == [
        {"name": "OTHER"},
        {"name": "OPSFORGE_VERSION", "value": "argo-7"},
    ]
    assert objects["Service", "apps"]["spec"]["selector"].items() <= labels.items()
    (rule,) = objects["HTTPRoute", "apps"]["spec"]["rules"]
    assert rule["filters"] == ["rewrite"]
    assert rule["backendRefs"] == [{"name": rollout["strategy"]["blueGreen"]["activeService"], "port": 80}]
