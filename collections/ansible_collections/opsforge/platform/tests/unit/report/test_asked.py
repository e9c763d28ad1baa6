# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report asks, of whom, and what it makes of the answers."""

from __future__ import annotations

import json
import math
from http.client import HTTPMessage
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _report
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    LOGS,
    LOKI,
    Dashboard,
    Panel,
    Query,
    Row,
    graph,
    number,
)
from ansible_collections.opsforge.platform.plugins.module_utils._report import Reporter
from ansible_collections.opsforge.platform.plugins.module_utils._series import POINTS, Source, Window

from .sources import END, WINDOW, Reader, drawn, healthy, look, matrix, server, vector


@pytest.mark.parametrize("hours, step", [(0.5, 15), (1, 15), (6, 120), (24, 600), (744, 14400)])
def test_a_window_has_few_moments_and_ends_on_its_grid(hours: float, step: int) -> None:
    window = Window.of(hours, END + 7)
    assert window.step == step and window.end % step == 0 and window.end <= END + 7
    assert len(window.moments) <= POINTS + 1 and window.moments[-1] == window.end
    assert window.end - window.start == pytest.approx(hours * 3600, abs=step)


@pytest.mark.parametrize("hours", [0, -1, 745, math.nan, math.inf])
def test_a_window_that_is_none_is_refused(hours: float) -> None:
    with pytest.raises(Invalid, match="hours must be"):
        Window.of(hours, END)


@pytest.mark.parametrize("end", [math.inf, math.nan, -1])
def test_an_end_that_is_no_moment_is_refused(end: float) -> None:
    with pytest.raises(Invalid, match="end must be"):
        Window.of(1, end)


def test_moments_without_a_sample_are_gaps() -> None:
    moments = WINDOW.moments
    found = Source(server(lambda *_: matrix(({"a": "1"}, [(moments[0], "2"), (moments[3], "+Inf")])))).range(
        "x", WINDOW
    )
    (one,) = found.series
    assert one.labels == {"a": "1"} and one.values[0] == 2 and one.values[3] == math.inf
    assert len(one.values) == len(moments) and len(one.known) == 2 and math.isnan(one.values[1])


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"resultType": "matrix"},
        {"resultType": "matrix", "result": {}},
        {"resultType": "matrix", "result": [1]},
        {"resultType": "matrix", "result": [{"metric": {}, "values": [["x", "1"]]}]},
        {"resultType": "matrix", "result": [{"metric": [], "values": []}]},
    ],
)
def test_what_is_no_prometheus_is_told(data: Any) -> None:
    with pytest.raises(Unreachable, match="does not answer as Prometheus does"):
        Source(server(lambda *_: data)).range("x", WINDOW)


def test_loki_says_what_is_wrong_with_a_query_in_plain_text() -> None:
    refused = Answer(400, HTTPMessage(), b"parse error at line 1: unexpected }\n")
    with pytest.raises(Invalid, match="Loki refuses the query x: parse error at line 1"):
        Source.loki(server(lambda *_: refused, title="Loki")).lines("x", WINDOW, 5)


def test_lines_come_newest_first_and_bounded() -> None:
    asked: list[str] = []
    streams = [
        {"stream": {"pod": pod}, "values": [[str(int(at * 1e9)), f"{pod}{at}"]]} for pod, at in (("a", 1), ("b", 2))
    ]
    loki = Source.loki(server(lambda *_: {"resultType": "streams", "result": streams}, asked, "Loki"))
    assert [line.text for line in loki.lines("{}", WINDOW, 1)] == ["b2"]
    assert asked[0].startswith("/loki/api/v1/query_range?") and "limit=1&" in asked[0]
    loki.lines("{}", Window.of(24, END + 599), 1)
    assert f"end={END + 599:.0f}&" in asked[1], "the newest are after the last moment of the grid"


def test_the_server_is_asked_for_a_bounded_answer() -> None:
    asked: list[str] = []
    Source(server(lambda *_: matrix(), asked)).range("x", WINDOW)
    assert "limit=100&" in asked[0] and asked[0].endswith("&timeout=10") and f"start={WINDOW.start:.0f}&" in asked[0]


def test_a_panel_in_error_says_why_and_the_others_are_drawn() -> None:
    def say(path: str, asked: dict[str, str]) -> Any:
        if asked.get("query") == "broken":
            body = {"status": "error", "errorType": "bad_data", "error": "parse <error>"}
            return Answer(400, HTTPMessage(), json.dumps(body).encode())
        return healthy(path, asked)

    report = look(graph("Broken", "B.", "broken"), graph("Well", "W.", "well"), say=say)
    assert report.failed == ["board: Broken: Prometheus refuses the query broken: parse <error>"]
    assert report.empty == []
    page = drawn(report)
    assert "parse &lt;error&gt;" in page and page.count("<svg") == 1


def test_nobody_is_asked_for_ever() -> None:
    asked: list[str] = []

    def say(path: str, question: dict[str, str]) -> Any:
        if question.get("query") == "vector(1)":
            return vector(({}, "1"))
        raise Unreachable("no answer in time")

    panels = [graph(str(at), "T.", f"q{at}") for at in range(50)]
    source = Source(server(say, asked))
    report = Reporter(source, WINDOW, "apps").look([Dashboard("board", "B", "B.", (Row("R", tuple(panels)),))])
    # Eight threads may be on their way when the third answer does not come.
    assert len(asked) <= 1 + _report._TRIES + 8 + 2
    assert len(report.failed) == 50 and "was not asked" in report.failed[-1]
    assert [note.partition(":")[0] for note in report.notes] == [
        "The alerts that fire are not known",
        "The moves of traffic are not known",
    ]


def test_what_is_missing_on_top_is_named_too() -> None:
    def say(path: str, asked: dict[str, str]) -> Any:
        if asked.get("query") == "broken":
            raise Unreachable("no answer in time")
        return vector() if asked.get("query") == "nothing" else healthy(path, asked)

    report = look(graph("A", "A.", "up"), say=say, summary=[number("B", "B.", "broken"), number("N", "N.", "nothing")])
    assert report.failed == ["summary: B: no answer in time"] and report.empty == ["summary: N"]


def test_what_could_not_be_asked_is_not_called_fine() -> None:
    def say(path: str, asked: dict[str, str]) -> Any:
        if "ALERTS" in asked.get("query", "") or "traffic:info" in asked.get("query", ""):
            raise Unreachable("no answer in time")
        return healthy(path, asked)

    report = look(graph("A", "A.", "up"), say=say)
    assert report.alerts is None and report.moves is None
    text = Reader(drawn(report)).text
    assert "Firing alertsNot known." in text and "Moves of trafficNot known." in text
    text = Reader(drawn(look(graph("A", "A.", "up")))).text
    assert "Firing alertsNo alert fires." in text and "Moves of trafficNo traffic was moved in this time." in text


def test_no_prometheus_is_one_clear_sentence() -> None:
    def say(*_: Any) -> Any:
        raise Unreachable("Prometheus (Service monitoring/prometheus:9090) answers with HTTP 503")

    with pytest.raises(Unreachable, match="HTTP 503"):
        look(graph("A", "A.", "up"), say=say)


def test_without_loki_panels_of_logs_are_left_out_and_named_as_missing() -> None:
    logs = Panel("Lines", "L.", (Query("{}", source=LOKI),), kind=LOGS)

    def gone(*_: Any) -> Any:
        raise Unreachable("Loki (Service logging/loki:3100) answers with HTTP 404")

    report = look(graph("A", "A.", "up"), logs, loki=gone)
    assert [finding.panel.title for finding in report.findings["board"]] == ["A"]
    assert "Panels of logs are left out: Loki (Service logging/loki:3100) answers with HTTP 404." in drawn(report)
    assert [finding.panel.title for finding in look(graph("A", "A.", "up"), logs).findings["board"]] == ["A"]
