# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch benchmark counts what clients saw, and its load goes to this machine only."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import _load, switch
from benchmarks._load import Request
from benchmarks._report import Report
from benchmarks.switch import BenchmarkError, Move, Seen

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
    seen = switch.see(MOVE, REQUESTS)
    assert (seen.requests, seen.lost) == (5, 1)
    assert seen.first_new == pytest.approx(0.15)
    assert seen.last_old == pytest.approx(0.3)


def test_traffic_that_never_moved_is_no_measurement() -> None:
    seen = switch.see(MOVE, [request(10.1, 10.2, OLD)])
    assert seen.first_new is None
    with pytest.raises(BenchmarkError, match="never answered"):
        switch.record(Report("switch"), MOVE, seen)


def test_a_ratio_above_one_says_that_ours_is_faster() -> None:
    report = Report("switch")
    for arm, seconds in (("ours", 0.1), ("kubectl_patch", 0.3)):
        move = Move(arm, OLD, NEW, 0, 1, is_rollback=True)
        switch.record(report, move, Seen(requests=300, lost=0, first_new=seconds / 2, last_old=seconds))
    switch.summarize(report)
    assert report.summary["ratio_vs_kubectl_patch"] == pytest.approx(3)
    assert report.summary["ratio_vs_argo"] is None
    assert (report.summary["requests"], report.summary["lost"]) == (300, 0)
    assert report.summary["rollback_seconds_p50"] == pytest.approx(0.05)


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
    monkeypatch.setattr(_load, "LOST_IN_A_ROW_MAX", 20)
    log = tmp_path / "log"
    with log.open("w") as sink:
        asyncio.run(_load.Generator("http://127.0.0.1:1/", 1000, sink).run(60))
    requests = [Request.parse(line) for line in log.read_text().splitlines()]
    assert 20 < len(requests) < 200
    assert all(found.is_lost for found in requests)
