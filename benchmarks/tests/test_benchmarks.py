# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks report in one form, and read the programs they measure rightly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import site
from benchmarks._report import Report, bootstrap_interval, bootstrap_ratio, p99, percentile

SUMMARY_OF_SITE = {"first_seconds", "second_seconds", "second_changed", "memory_bytes"}


def test_percentile_is_a_sample_never_an_invention() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.0) == 1.0
    assert p99(list(range(1, 101))) == 99
    assert p99([1.0, 9.0]) == 9.0
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)


def test_interval_holds_the_median_and_repeats_itself() -> None:
    samples = [float(value) for value in range(50)]
    low, high = bootstrap_interval(samples)
    assert low < 24.5 < high and (low, high) == bootstrap_interval(samples)
    assert bootstrap_interval([2.0]) == (2.0, 2.0)


def test_ratio_above_one_means_that_ours_took_less() -> None:
    ratio, low, high = bootstrap_ratio(theirs=[9.0, 10.0, 11.0], ours=[1.0, 1.0, 1.0])
    assert low <= ratio <= high and ratio == 10.0


def test_report_has_the_form_and_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("example")
    report.sample("ours", "first_new", 0.05, "seconds")
    report.sample("ours", "first_new", 0.07, "seconds")
    report.skip("argo", "its controller cannot be had here")
    report.summary = {"lost": 0, "ratio_vs_argo": None}
    path = report.finish(tmp_path)

    written = json.loads(path.read_text(encoding="utf-8"))
    assert {"name", "date", "commit", "machine", "arms", "summary", "skipped"} <= set(written)
    assert written["machine"]["cores"] > 0 and written["machine"]["memory_bytes"] > 2**20
    figure = written["arms"]["ours"]["first_new"]
    assert {key: figure[key] for key in ("p99", "n", "unit")} == {"p99": 0.07, "n": 2, "unit": "seconds"}
    assert figure["median"] == pytest.approx(0.06)
    assert [found.name for found in tmp_path.iterdir()] == ["example.json"]
    shown = capsys.readouterr().out
    assert "first_new" in shown and "ratio_vs_argo = -" in shown and "cannot be had" in shown


def test_a_figure_keeps_its_unit() -> None:
    report = Report("example")
    report.sample("ours", "time", 1, "seconds")
    with pytest.raises(ValueError, match="seconds, not in milliseconds"):
        report.sample("ours", "time", 1, "milliseconds")


@pytest.mark.parametrize("prefix", ["total_", ""], ids=["cgroup v1", "cgroup v2"])
def test_page_cache_is_not_memory_in_use(prefix: str) -> None:
    memory = {"usage": 1000, "stats": {f"{prefix}inactive_file": 300, f"{prefix}active_file": 200, "anon": 450}}
    assert site.in_use_bytes(memory) == 500


def test_time_is_added_up_by_role() -> None:
    tasks = [
        {"play": "Install", "task": "opsforge.platform.network : Run | Apply", "seconds": 2.0},
        {"play": "Install", "task": "opsforge.platform.network : Preflight | Look", "seconds": 0.5},
        {"play": "Show the way in", "task": "Say where everything is", "seconds": 0.1},
    ]
    assert site.roles_of({"tasks": tasks}) == {"network": 2.5, "play: Show the way in": 0.1}


def test_summary_of_site_has_its_keys_and_the_worst_second_run() -> None:
    report = Report("site")
    for name, value, unit in [("first", 200, "seconds"), ("second", 9, "seconds"), ("memory", 2**31, "bytes")]:
        report.sample("warm", name, value, unit)
    for changed in (0, 0, 2):
        report.sample("warm", "second, changed", changed, "tasks")
    site.summarize(report)
    assert set(report.summary) >= SUMMARY_OF_SITE
    assert report.summary["second_changed"] == 2 and report.summary["cold_first_seconds"] is None
