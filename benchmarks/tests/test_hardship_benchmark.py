# SPDX-License-Identifier: GPL-3.0-or-later
"""The hardship benchmark counts every request, and knows of each lost one when and under what it was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import hardship
from benchmarks._load import Request
from benchmarks._moves import BenchmarkError, Move

OLD, NEW = '"slot":"blue"', '"slot":"green"'
MOVES = [Move("plain", OLD, NEW, 10.0, 0), Move("node_drained", NEW, OLD, 20.0, 0, is_rollback=True)]


def request(due: float, body: str, status: int = 200) -> Request:
    return Request(due, due, due + 0.1, kept=True, status=status, body=f"{{{body}}}")


REQUESTS = [
    request(9.0, OLD, status=503),  # before the first move: nobody's
    request(10.2, NEW),
    request(19.0, NEW),  # between two moves, and counted
    request(20.1, "", status=503),
    request(20.4, OLD),
]


def test_every_request_counts_for_the_last_move_that_had_begun(capsys: pytest.CaptureFixture[str]) -> None:
    report = hardship.Hardships("hardship")
    hardship.record_moves(report, MOVES, REQUESTS)
    hardship.summarize(report)
    known = {"switches": 1, "rollbacks": 1, "requests": 4, "lost": 1, "lost_plain": 0, "lost_node_drained": 1}
    assert known.items() <= report.summary.items()
    (loss,) = report.losses
    assert (loss["hardship"], loss["is_rollback"], loss["kept"], loss["status"]) == ("node_drained", True, True, 503)
    assert loss["sent_after_seconds"] == pytest.approx(0.1)
    assert "node_drained" in capsys.readouterr().err


def test_a_slot_that_never_answered_is_no_move() -> None:
    with pytest.raises(BenchmarkError, match="never answered"):
        hardship.record_moves(hardship.Hardships("hardship"), MOVES[:1], [request(10.2, OLD)])


def test_runs_add_up(tmp_path: Path) -> None:
    first = hardship.Hardships("hardship")
    hardship.record_moves(first, MOVES, REQUESTS)
    both = hardship.Hardships("hardship")
    first.write(tmp_path)
    both.resume(tmp_path)
    hardship.record_moves(both, MOVES, REQUESTS)
    hardship.summarize(both)
    assert (both.summary["switches"], both.summary["requests"], both.summary["lost"]) == (2, 8, 2)
    assert len(both.losses) == 2


def test_nothing_to_add_to_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["hardship", "--add", "--results", str(tmp_path), "--url", "http://127.0.0.1:1"])
    with pytest.raises(SystemExit, match=f"hardship: there is no {tmp_path}/hardship.json to add to"):
        hardship.main()
