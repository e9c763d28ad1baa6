# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of detection tells the arms apart, and keeps what it measured when it ends early."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field

import pytest

from benchmarks import detect
from benchmarks._faults import FAULTS
from benchmarks._pager import Notification
from benchmarks._report import Report
from benchmarks._watch import FIRING, NotToldError, Watch

OOM = next(fault for fault in FAULTS if fault.name == "oom_kill")


@dataclass
class Heard:
    """A pager that has heard this."""

    found: list[Notification] = field(default_factory=list)

    def heard(self) -> list[Notification]:
        return self.found

    def notifications(self, begin: int) -> list[Notification]:
        return self.found[begin:]


def told(receiver: str) -> Notification:
    return Notification(receiver, 1.0, FIRING, {"alertname": OOM.alert, **OOM.labels}, "2026-01-01T00:00:00Z")


def test_each_arm_has_its_own_receivers_and_the_dead_man_is_nobodys() -> None:
    pager = Heard([told("api")])
    ours, theirs = Watch(pager), Watch(pager, "usual-")  # type: ignore[arg-type]
    pager.found += [told("usual-api"), told("api"), told("deadman"), told("usual-deadman"), told("sre")]
    assert [one.receiver for one in ours.told(OOM, FIRING)] == ["api", "sre"]
    assert [one.receiver for one in theirs.told(OOM, FIRING)] == ["usual-api"]


def test_what_was_measured_before_nobody_was_told_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Report] = []

    def run(_: argparse.Namespace, report: Report) -> None:
        report.sample("ours", "oom_kill_told_seconds", 3.0, "s")
        report.sample("usual", "oom_kill_told_seconds", 60.0, "s")
        raise NotToldError("nobody told")

    monkeypatch.setattr(detect, "run", run)
    monkeypatch.setattr(Report, "finish", lambda self: kept.append(self))
    monkeypatch.setattr(sys, "argv", ["detect", "--only", "oom_kill"])
    with pytest.raises(SystemExit, match="nobody told"):
        detect.main()
    (report,) = kept
    assert report.summary["ratio_vs_usual_settings"] == 20 and report.skipped == {"rest": "nobody told"}
