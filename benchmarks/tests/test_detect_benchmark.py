# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of detection keeps what it measured when it ends early, and nothing half measured."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from benchmarks import detect
from benchmarks._faults import FAULTS, Stage
from benchmarks._pager import Notification, Pager
from benchmarks._report import Report
from benchmarks._watch import FIRING, NotToldError

OOM = next(fault for fault in FAULTS if fault.name == "oom_kill")


class Silent:
    """A pager that hears of the fault and not of its end."""

    def heard(self) -> list[Notification]:
        return []

    def notifications(self, begin: int) -> list[Notification]:
        labels = {"alertname": OOM.alert, **OOM.labels}
        receivers = [f"{prefix}{name}" for prefix in detect.ARMS.values() for name in OOM.receivers]
        return [Notification(name, 1.0, FIRING, labels, "9999-01-01T00:00:00Z") for name in receivers]


def test_a_fault_that_was_cut_short_counts_not_at_all() -> None:
    fault = replace(OOM, ends_within=0, inject=lambda _: contextlib.nullcontext(0.0))
    report = Report("detect")
    with pytest.raises(NotToldError, match="resolved"):
        detect.measure(cast(Stage, None), cast(Pager, Silent()), fault, report)
    assert report.arms == {}


def test_what_was_measured_before_nobody_was_told_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: list[Report] = []

    def run(_: argparse.Namespace, report: Report) -> None:
        report.sample("ours", "oom_kill_told_seconds", 3.0, "s")
        report.sample("usual", "oom_kill_told_seconds", 60.0, "s")
        raise NotToldError("nobody told")

    monkeypatch.setattr(detect, "run", run)
    monkeypatch.setattr(Report, "finish", lambda self, _: kept.append(self))
    monkeypatch.setattr(sys, "argv", ["detect", "--only", "oom_kill", "--add", "--results", str(tmp_path)])
    earlier = Report("detect")
    earlier.sample("ours", "crash_loop_told_seconds", 7.0, "s")
    earlier.write(tmp_path)
    with pytest.raises(SystemExit, match="nobody told"):
        detect.main()
    (report,) = kept
    assert report.samples("ours", "crash_loop_told_seconds") == [7.0]
    assert report.summary["ratio_vs_usual_settings"] == 20 and report.skipped == {"rest": "nobody told"}


def test_a_run_that_measured_nothing_leaves_the_results_that_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(*_: object) -> None:
        raise NotToldError("nobody told")

    monkeypatch.setattr(detect, "run", run)
    monkeypatch.setattr(sys, "argv", ["detect", "--results", str(tmp_path)])
    earlier = Report("detect")
    earlier.sample("ours", "crash_loop_told_seconds", 7.0, "s")
    before = earlier.write(tmp_path).read_text()
    with pytest.raises(SystemExit, match="nobody told"):
        detect.main()
    assert (tmp_path / "detect.json").read_text() == before


def test_half_an_hour_whose_load_ended_early_counts_not_at_all(tmp_path: Path) -> None:
    report = Report("detect_healthy")
    foreign = "http://192.0.2.1"  # refused by the generator, which ends at once
    with pytest.raises(RuntimeError, match="the load ended by itself"):
        detect.healthy(cast(Pager, Silent()), foreign, tmp_path, 1, report)
    assert report.arms == {} and not report.summary


@pytest.mark.parametrize(
    "arm, alarms, pages, end",
    [
        ("ours", 0, 0.0, contextlib.nullcontext()),
        ("usual", 0, 2.0, contextlib.nullcontext()),
        ("ours", 0, 2.0, pytest.raises(SystemExit, match="0 false alarms and 2 pages that told nobody more")),
        ("ours", 1, 0.0, pytest.raises(SystemExit, match="1 false alarms and 0 pages")),
    ],
)
def test_a_needless_page_is_an_error_and_its_figure_is_kept(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arm: str,
    alarms: int,
    pages: float,
    end: contextlib.AbstractContextManager[object],
) -> None:
    def run(_: argparse.Namespace, report: Report) -> None:
        report.sample(arm, "oom_kill_needless_pages", pages, "pages")
        report.summary["false_alarms"] = alarms

    monkeypatch.setattr(detect, "run", run)
    monkeypatch.setattr(sys, "argv", ["detect", "--results", str(tmp_path)])
    with end:
        detect.main()
    assert (tmp_path / "detect.json").exists()
