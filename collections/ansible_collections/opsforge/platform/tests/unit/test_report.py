# SPDX-License-Identifier: GPL-3.0-or-later
"""A report: what is asked, what is drawn, and that nothing from outside becomes part of the page itself."""

from __future__ import annotations

import json
import math
import re
import resource
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _figures, _moves, _page, _report
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._html import element, join, link, plain
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer
from ansible_collections.opsforge.platform.plugins.module_utils._moves import Move
from ansible_collections.opsforge.platform.plugins.module_utils._page_style import STYLE
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    HEATMAP,
    LOGS,
    LOKI,
    TABLE,
    Dashboard,
    Panel,
    Query,
    Row,
    Threshold,
    graph,
    number,
)
from ansible_collections.opsforge.platform.plugins.module_utils._plots import COLORS, Plotter
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import Prometheus
from ansible_collections.opsforge.platform.plugins.module_utils._render import Render
from ansible_collections.opsforge.platform.plugins.module_utils._report import LINES, Report, Reporter
from ansible_collections.opsforge.platform.plugins.module_utils._series import (
    POINTS,
    SERIES_LIMIT,
    Series,
    Source,
    Window,
)
from ansible_collections.opsforge.platform.plugins.module_utils._units import SECONDS

END = 1767261600.0
WINDOW = Window.of(1, END)
HOSTILE = '"></svg><script>alert(1)</script><img src=x onerror="alert(2)">\u202e$\\frac{1}{0}$'
Say = Callable[[str, dict[str, str]], Any]


def matrix(*series: tuple[dict[str, str], list[tuple[float, str]]]) -> Any:
    return {"resultType": "matrix", "result": [{"metric": labels, "values": values} for labels, values in series]}


def vector(*series: tuple[dict[str, str], str]) -> Any:
    return {
        "resultType": "vector",
        "result": [{"metric": labels, "value": [END, value]} for labels, value in series],
    }


def steady(*labels: dict[str, str], value: str = "1") -> Any:
    """Series with the same value all the time."""
    return matrix(*((one, [(moment, value) for moment in WINDOW.moments]) for one in labels))


def server(say: Say, asked: list[str] | None = None, title: str = "Prometheus") -> Prometheus:
    """A Prometheus that says what a function says to a path and its query; an exception is raised."""

    def fetch(path: str) -> Answer:
        if asked is not None:
            asked.append(path)
        parts = urlsplit(path)
        said = say(parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()})
        if isinstance(said, Answer):
            return said
        return Answer(200, HTTPMessage(), json.dumps({"status": "success", "data": said}).encode())

    return Prometheus(f"{title} http://it", fetch, title=title)


def healthy(path: str, asked: dict[str, str]) -> Any:
    """One series for each question, no alert."""
    if path.endswith("/alerts"):
        return {"alerts": []}
    if asked["query"].startswith("ALERTS"):
        return vector()
    return steady({}) if path.endswith("/query_range") else vector(({}, "1"))


def limited(say: Say) -> Say:
    """The same from a Prometheus that holds to the limit that it is given, and warns when it does."""

    def fewer(path: str, asked: dict[str, str]) -> Any:
        said = say(path, asked)
        limit = int(asked.get("limit", 0))
        if not limit or len(said["result"]) <= limit:
            return said
        data = said | {"result": said["result"][:limit]}
        warned = {"status": "success", "data": data, "warnings": ["results truncated due to limit"]}
        return Answer(200, HTTPMessage(), json.dumps(warned).encode())

    return fewer


def says(said: Any) -> Say:
    """As healthy(), but each range has this answer, except for where traffic is."""
    own = "namespace_service:traffic:info"
    return lambda path, asked: (
        said if path.endswith("/query_range") and own not in asked["query"] else healthy(path, asked)
    )


def look(*panels: Panel, say: Say = healthy, loki: Say | None = None, summary: Sequence[Panel] = ()) -> Report:
    source = Source.loki(server(loki, title="Loki")) if loki else None
    dashboard = Dashboard("board", "Board", "All of it.", (Row("Row", panels),), markers=True)
    return Reporter(Source(server(say)), WINDOW, "apps", loki=source).look([dashboard], summary)


def drawn(report: Report) -> str:
    return _page.page(report, "Title", Plotter())


class Reader(HTMLParser):
    """What a browser would find: elements, their addresses and ids, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, key: str) -> list[str]:
        return [value for name, value in self.attributes if name == key]


# -- what is asked -------------------------------------------------------------------------------------------------


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


def test_the_server_is_asked_for_a_bounded_answer() -> None:
    asked: list[str] = []
    Source(server(lambda *_: matrix(), asked)).range("x", WINDOW)
    assert "limit=100&" in asked[0] and "timeout=10s" in asked[0] and f"start={WINDOW.start:.0f}&" in asked[0]


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


# -- what is drawn -------------------------------------------------------------------------------------------------


def test_nothing_from_outside_becomes_part_of_the_page() -> None:
    alert = {name: HOSTILE for name in ("alertname", "severity", "team", "x")}
    words = {"labels": alert, "annotations": {"summary": HOSTILE, "runbook_url": "javascript:alert(3)"}}

    def say(path: str, asked: dict[str, str]) -> Any:
        if path.endswith("/alerts"):
            return {"alerts": [words, "no alert", None]}
        if asked["query"].startswith("ALERTS"):
            return vector((alert, "1e300"))
        if "namespace_service:traffic:info" in asked["query"]:
            half = len(WINDOW.moments) // 2
            where = {"service": HOSTILE, "slot": HOSTILE}
            return matrix(
                ({**where, "version": "1"}, [(moment, "1") for moment in WINDOW.moments[:half]]),
                ({**where, "version": HOSTILE}, [(moment, "1") for moment in WINDOW.moments[half:]]),
            )
        labels = {"le": HOSTILE, "pod": HOSTILE}
        return steady(labels) if path.endswith("_range") else vector((labels, "1"))

    def talk(path: str, asked: dict[str, str]) -> Any:
        if asked["query"] == "vector(1)":
            return vector(({}, "1"))
        lines = [HOSTILE, json.dumps({"level": HOSTILE, "event": HOSTILE}), "[" * 100_000]
        return {
            "resultType": "streams",
            "result": [{"stream": {"level": HOSTILE}, "values": [["1", one] for one in lines]}],
        }

    report = look(
        graph("Lines", "L.", "x", "{{pod}}", SECONDS),
        Panel("Heat", "H.", (Query("x", "{{le}}"),), kind=HEATMAP),
        Panel("Table", "T.", (Query("x", "value"),), kind=TABLE, columns=("pod",)),
        number("Number", "N.", "x", legend="{{pod}}"),
        Panel("Logs", "L.", (Query("{}", source=LOKI),), kind=LOGS),
        say=say,
        loki=talk,
        summary=[Panel("Sum", "S.", (Query("x", "v"),), kind=TABLE, columns=("pod",))],
    )
    page = drawn(report)
    found = Reader(page)
    assert report.failed == [] and report.moves and len(report.moves) == 1
    assert not {"script", "img", "iframe", "object", "link", "form"} & set(found.tags)
    assert not [key for key, _ in found.attributes if key.startswith("on")]
    assert "\u202e" not in page
    assert "<script>alert(1)</script>" in found.text, "it is shown as text"
    addresses = found.values("href") + found.values("xlink:href") + found.values("src")
    assert addresses and all(re.match(r"#[\w-]+$|data:image/png;base64,", address) for address in addresses)


def test_the_page_asks_nobody_and_runs_nothing() -> None:
    page = drawn(look(graph("A", "A.", "up")))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "default-src &" not in page
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'" and "script-src" not in rules
    assert "http" not in re.sub(r'http-equiv|xmlns(:xlink)?="[^"]+"|Prometheus http://it', "", page)


def test_a_firing_alert_leads_to_its_page_and_the_dead_mans_switch_is_no_alarm() -> None:
    slow = {"alertname": "Slow", "severity": "warning"}
    words = {"summary": "too slow", "runbook_url": "https://docs.example.org/Slow.md"}

    def say(path: str, asked: dict[str, str]) -> Any:
        if path.endswith("/alerts"):
            return {"alerts": [{"state": "firing", "labels": slow, "annotations": words}]}
        if asked["query"].startswith("ALERTS_FOR_STATE"):
            return vector(({"__name__": "ALERTS_FOR_STATE", **slow}, str(END - 10800)))
        if asked["query"].startswith("ALERTS"):
            others = {"Stopped": "critical", "Watchdog": "none", "Hint": "info"}
            many = [slow, *({"alertname": name, "severity": severity} for name, severity in others.items())]
            return vector(*(({"__name__": "ALERTS", "alertstate": "firing", **labels}, "1") for labels in many))
        return healthy(path, asked)

    page = drawn(look(graph("A", "A.", "up"), say=say))
    assert '<a href="https://docs.example.org/Slow.md" rel="noopener noreferrer">Slow</a>' in page
    assert "<td>2026-01-01 07:00</td>" in page and "too slow" in page
    assert page.index("Stopped") < page.index("Slow.md") < page.index("Hint"), "the worst first"
    assert "Watchdog" not in page


def test_the_worst_alerts_are_there_however_many_fire() -> None:
    many = [{"alertname": f"Slow{at:03}", "severity": "warning"} for at in range(150)]
    many.append({"alertname": "Down", "severity": "critical"})

    def say(path: str, asked: dict[str, str]) -> Any:
        if asked.get("query", "").startswith("ALERTS_FOR_STATE"):
            return vector(*((labels, str(END - 10800)) for labels in many))
        if asked.get("query", "").startswith("ALERTS"):
            return vector(*((labels, "1") for labels in many))
        return healthy(path, asked)

    page = drawn(look(graph("A", "A.", "up"), say=limited(say)))
    assert page.index("Down") < page.index("Slow000") and "Slow098" in page and "Slow099" not in page
    assert "51 more fire." in page and page.count("<td>2026-01-01 07:00</td>") == 100


def test_a_series_has_its_own_color_in_the_picture_and_beside_it() -> None:
    pods = steady(*({"pod": f"p{at}"} for at in range(4)))
    report = look(graph("A", "A.", "x", "{{pod}}"), say=says(pods))
    page = drawn(report)
    picture = page[page.index("<svg") : page.index("</svg>")]
    legend = page[page.index("</svg>") :]
    assert re.findall(r"--c:var\(--s(\d+)\)", legend) == ["0", "1", "2", "3"]
    assert set(re.findall(r"stroke: var\(--s(\d+)\)", picture)) == {"0", "1", "2", "3"}
    assert "#ab0" not in page, "a color of the sketch"


@pytest.mark.parametrize(
    "names, colors",
    [
        (["a", "b"], [0, 1]),
        (["blue", "green"], [0, 2]),
        (["green"], [2]),
        (["a", "auth-green", "auth-blue"], [1, 2, 0]),
        (["auth blue", "cart blue"], [0, 1]),
        (["200", "500"], [0, 4]),
        ([str(at) for at in range(12)], list(range(12))),
    ],
)
def test_slots_and_failures_have_colors_of_their_own(names: list[str], colors: list[int]) -> None:
    assert _figures.colored(names) == colors


def test_no_two_of_twelve_series_share_a_color() -> None:
    for names in (["500"] * 12, ["blue", "green", "500", *map(str, range(9))]):
        assert len(set(_figures.colored(names))) == 12 and max(_figures.colored(names)) < COLORS


def test_only_the_highest_series_are_drawn_and_the_rest_is_counted() -> None:
    many = matrix(*(({"pod": f"p{at:02}"}, [(WINDOW.end, str(at))]) for at in range(COLORS + 5)))
    report = look(graph("A", "A.", "x", "{{pod}}"), say=says(many))
    found = Reader(drawn(report))
    assert "5 more series, all smaller, are not drawn." in found.text
    assert "p16" in found.text and "p04" not in found.text and "p05" in found.text


@pytest.mark.parametrize("count, cut", [(SERIES_LIMIT, False), (SERIES_LIMIT + 1, True)])
def test_of_series_that_did_not_come_nothing_is_claimed(count: int, cut: bool) -> None:
    pods = [{"pod": f"p{at:03}"} for at in range(count)]
    listed = Panel("T", "T.", (Query("x", "v"),), kind=TABLE, columns=("pod",))

    def say(path: str, asked: dict[str, str]) -> Any:
        if asked.get("query") != "x":
            return healthy(path, asked)
        return steady(*pods) if path.endswith("_range") else vector(*((pod, "1") for pod in pods))

    for panel in (graph("A", "A.", "x", "{{pod}}"), listed):
        text = Reader(drawn(look(panel, say=limited(say)))).text
        assert (
            "Of a query with more than 100 series only 100 came: what is missing may be the largest." in text
        ) == cut
        wanted = "88 more that came, all smaller," if cut else "88 more series, all smaller,"
        assert panel is listed or f"{wanted} are not drawn." in text


def test_other_warnings_cut_nothing() -> None:
    body = {"status": "success", "data": steady({}), "warnings": ["a store of long ago did not answer"]}
    answer = Answer(200, HTTPMessage(), json.dumps(body).encode())
    assert not look(graph("A", "A.", "x"), say=says(answer)).findings["board"][0].cut


def test_tables_join_their_queries_and_are_bounded() -> None:
    def say(path: str, asked: dict[str, str]) -> Any:
        if "query" not in asked or asked["query"].startswith("ALERTS"):
            return healthy(path, asked)
        if asked["query"] == "a":
            return vector(*(({"pod": f"p{at:03}", "other": "x"}, "1") for at in range(_figures.ROWS + 1)))
        return vector(({"pod": "p001"}, "0.5"))

    panel = Panel("T", "T.", (Query("a", "first"), Query("b", "second")), kind=TABLE, columns=("pod",))
    page = drawn(look(panel, say=say))
    assert "<tr><td>p001</td><td>1</td><td>0.5</td></tr>" in page
    assert "<tr><td>p002</td><td>1</td><td>no data</td></tr>" in page
    assert "p100" not in page and "1 more rows are not shown." in page


def test_lines_of_logs_are_read_and_bounded() -> None:
    lines = [json.dumps({"level": "error", "event": "failed", "trace_id": "abc", "time": "x"}), *["plain"] * 100]

    def talk(path: str, asked: dict[str, str]) -> Any:
        if asked["query"] == "vector(1)":
            return vector(({}, "1"))
        values = [[str(int((END - at) * 1e9)), one] for at, one in enumerate(lines)]
        return {"resultType": "streams", "result": [{"stream": {}, "values": values}]}

    found = Reader(drawn(look(Panel("L", "L.", (Query("{}", source=LOKI),), kind=LOGS), loki=talk)))
    assert "failed trace_id=abc" in found.text and found.text.count("plain") == LINES - 1


def test_no_data_is_said_and_a_gap_is_no_line() -> None:
    nothing = drawn(look(graph("A", "A.", "x"), say=says(matrix())))
    assert "No data in this time." in nothing and "<svg" not in nothing
    first, last = WINDOW.moments[:5], WINDOW.moments[-5:]
    series = Series({}, [1.0 if moment in (*first, *last) else math.nan for moment in WINDOW.moments])
    svg = Plotter().draw(graph("A", "A.", "x"), [(0, series)], WINDOW, name="p", tells="t")
    (line,) = re.findall(r'd="([^"]+)"[^>]*style="[^"]*stroke: var\(--s0\)', svg)
    assert line.count("M") == 2, "two pieces"


def test_a_single_sample_is_a_dot() -> None:
    series = Series({}, [1.0, *[math.nan] * (len(WINDOW.moments) - 1)])
    svg = Plotter().draw(graph("A", "A.", "x"), [(0, series)], WINDOW, name="p", tells="t")
    assert "fill: var(--s0)" in svg


def test_what_cannot_be_drawn_does_not_end_the_report() -> None:
    for values in ([math.inf], [-math.inf], [1e308], [-1e308, 1e308], [5e-324], [-3.0], [0.0]):
        series = Series({"le": "x"}, (values * len(WINDOW.moments))[: len(WINDOW.moments)])
        for panel in (graph("A", "A.", "x"), graph("A", "A.", "x", stacked=True), graph("A", "A.", "x", kind=HEATMAP)):
            assert Plotter().draw(panel, [(0, series), (1, series)], WINDOW, name="p", tells="t").startswith("<svg")


def test_releases_and_limits_are_lines() -> None:
    panel = graph("A", "A.", "x", thresholds=(Threshold(2), Threshold(2.2, "critical"), Threshold(1000)))
    series = [(0, Series({}, [1.0] * len(WINDOW.moments)))]
    svg = Plotter().draw(panel, series, WINDOW, [WINDOW.moments[9]], name="p", tells="t")
    drawn_in = [svg.count(f"stroke: var(--{color})") for color in ("warning", "critical", "marker")]
    assert drawn_in == [1, 1, 1], "the one far away would press the series flat"


def test_a_picture_is_told_in_words_and_its_ids_are_its_own() -> None:
    page = drawn(look(*(graph(f"Panel {at}", "What it is.", "x", unit=SECONDS) for at in range(3))))
    found = Reader(page)
    assert "<desc" in page and "all: from 1 s to 1 s, last 1 s." in found.text
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([\w-]+)\)", page)) <= set(ids)
    assert {one.removeprefix("#") for one in found.values("href") + found.values("xlink:href")} <= set(ids)


def test_the_same_report_is_the_same_page_on_another_day(monkeypatch: pytest.MonkeyPatch) -> None:
    report = look(graph("A", "A.", "x"), Panel("H", "H.", (Query("x", "{{le}}"),), kind=HEATMAP))
    pages = []
    for day in range(2):
        # What matplotlib takes for now.
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(86400 * day))
        pages.append(drawn(report))
    assert pages[0] == pages[1] and "matplotlib" not in pages[0].lower()


def test_stats_past_a_threshold_say_so_without_color_too() -> None:
    page = drawn(look(number("N", "N.", "x", SECONDS, Threshold(0.5), Threshold(1, "critical"))))
    assert '<span class="number bad">✖ 1 s</span>' in page
    assert '<span class="number">1 s</span>' in drawn(look(number("N", "N.", "x", SECONDS, Threshold(2))))


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NotFound, match="need the Python package matplotlib: pip install matplotlib"):
        Plotter()


def shades() -> list[dict[str, str]]:
    """The colors of the page by name, by day and by night."""
    found = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for part in STYLE.split("@media (prefers-color-scheme")]
    return found[:2]


def contrast(one: str, other: str) -> float:
    """How far apart two colors are to the eye, as WCAG counts it: 1 to 21."""

    def light(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((light(one), light(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("colors", shades(), ids=["day", "night"])
def test_text_and_lines_stand_out(colors: dict[str, str]) -> None:
    for ground in ("page", "card"):
        for text in ("ink", "dim", "link", "warning", "critical", "fine", "s0", "s2"):
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        for line in ("marker", *(f"s{at}" for at in range(COLORS))):
            assert contrast(colors[line], colors[ground]) >= 3, (line, ground)
    assert len({colors[f"s{at}"] for at in range(COLORS)}) == COLORS


# -- when traffic moved --------------------------------------------------------------------------------------------

MOMENTS = Window.of(0.025, END)  # seven moments
N = math.nan


@pytest.mark.parametrize(
    "states, moved",
    [
        ({"blue": [1, 1, 1, 1, 1, 1, 1]}, []),
        ({"blue": [1, 1, 1, N, N, N, N], "green": [N, N, N, 1, 1, 1, 1]}, [(3, "green")]),
        ({"blue": [1, 1, 1, 1, 1, N, N], "green": [N, N, N, 1, 1, 1, 1]}, [(3, "green")]),
        ({"blue": [1, 1, N, N, 1, 1, 1], "green": [N, N, 1, 1, N, N, N]}, [(2, "green"), (4, "blue")]),
        ({"blue": [1, 1, N, N, N, 1, 1]}, []),
        ({"blue": [1, 1, N, N, N, N, N], "green": [N, N, N, N, 1, 1, 1]}, [(4, "green")]),
        ({"blue": [N, N, 1, 1, 1, 1, 1]}, []),
        ({"blue": [1] * 7, "green": [1] * 7}, []),
    ],
    ids=["stays", "moves", "both are seen for a while", "and back", "a gap", "moves in a gap", "first seen", "unclear"],
)
def test_traffic_moved_when_another_slot_is_seen(states: dict[str, list[float]], moved: list[tuple[int, str]]) -> None:
    found = [
        Series({"service": "auth", "slot": slot, "version": f"{slot}-1"}, values) for slot, values in states.items()
    ]
    wanted = [Move(MOMENTS.moments[at], "auth", slot, f"{slot}-1") for at, slot in moved]
    assert _moves.moves(found, MOMENTS) == wanted


def test_no_move_is_lost_among_many() -> None:
    half = len(WINDOW.moments) // 2
    parts = (("blue", WINDOW.moments[:half]), ("green", WINDOW.moments[half:]))
    states = matrix(
        *(
            ({"service": f"s{at:03}", "slot": slot, "version": "1"}, [(moment, "1") for moment in moments])
            for slot, moments in parts
            for at in range(120)
        )
    )
    where = _moves.query("apps")
    report = look(
        graph("A", "A.", "up"),
        say=limited(lambda path, asked: states if asked.get("query") == where else healthy(path, asked)),
    )
    assert [(move.service, move.slot) for move in report.moves or ()] == [(f"s{at:03}", "green") for at in range(120)]
    page = drawn(report)
    assert "s020" in page and "s019" not in page and "20 earlier ones are not shown." in page


def test_a_dashboard_of_one_service_marks_its_moves_only() -> None:
    moves = (Move(1, "auth", "green", "2"), Move(2, "cart", "green", "2"))
    every, mine = (
        Dashboard("a", "A", "A.", (), markers=True),
        Dashboard("b", "B", "B.", (), markers=True, service="cart"),
    )
    assert _page._marked(moves, every) == [1, 2] and _page._marked(moves, mine) == [2]
    assert _page._marked(moves, Dashboard("c", "C", "C.", ())) == []


# -- markup --------------------------------------------------------------------------------------------------------


def test_text_is_escaped_and_html_is_not_escaped_again() -> None:
    assert element("p", "a<b", element("b", '"'), class_="x&y") == '<p class="x&amp;y">a&lt;b<b>&quot;</b></p>'
    assert join("<", element("i")) == "&lt;<i></i>"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//host/x", "", None, 3, "http://[", "https://x\n", " https://x"]
)
def test_only_addresses_of_the_web_are_links(url: object) -> None:
    assert link("text", url) == "text"


def test_what_others_say_is_short_and_printable() -> None:
    assert plain("a\nb\x00c\u202ed") == "a\ufffdb\ufffdc\ufffdd" and plain("x" * 400) == "x" * 300 + "…"


# -- the file ------------------------------------------------------------------------------------------------------


class Empty:
    """A cluster through which a healthy Prometheus answers; Loki is not there."""

    def __init__(self, say: Say = healthy) -> None:
        self._server = server(say)

    def fetch(self, namespace: str, service: str, port: int | str, path: str, **_: Any) -> Answer:
        if service == "loki":
            return Answer(404, HTTPMessage(), b'{"kind": "Status", "message": "services \\"loki\\" not found"}')
        return self._server.fetch(path)


def params(file: Path, **more: Any) -> dict[str, Any]:
    """The module's parameters with their defaults."""
    from ansible_collections.opsforge.platform.plugins.modules.report_render import ARGUMENT_SPEC

    return {key: spec.get("default") for key, spec in ARGUMENT_SPEC.items()} | {
        "path": str(file),
        "services": {"auth": {"slo": {"availability_percent": 99, "latency_seconds": 0.5, "latency_percent": 95}}},
        "dashboards": ["service-auth"],
        "end": END,
        **more,
    }


def test_a_report_is_written_as_a_whole_and_once(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("an older one")
    cluster: Any = Empty()
    first = Render.of(params(path)).run(cluster)
    assert not {"failed", "skipped", "unreachable"} & set(first), "words that Ansible has a meaning for"
    assert first["changed"] and first["size"] == path.stat().st_size and first["errors"] == []
    assert first["notes"] == [
        "Panels of logs are left out: Loki (Service logging/loki:3100) answers with HTTP 404:"
        ' services "loki" not found.'
    ]
    assert path.stat().st_mode & 0o077 == 0, "what is in it came from logs"
    assert not Render.of(params(path)).run(cluster)["changed"]
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_a_report_that_there_is_nothing_for(tmp_path: Path) -> None:
    def say(*_: Any) -> Any:
        return Answer(503, HTTPMessage(), b'{"message": "no endpoints available for service"}')

    cluster: Any = Empty(say)
    words = (
        "there is nothing to draw a report from: Prometheus .Service monitoring/prometheus:9090. answers with HTTP 503"
    )
    with pytest.raises(Unreachable, match=words):
        Render.of(params(tmp_path / "report.html")).run(cluster)
    assert list(tmp_path.iterdir()) == []


def test_the_log_in_of_a_loki_that_is_not_asked_is_not_looked_at(tmp_path: Path) -> None:
    cluster: Any = Empty()
    left = {"loki_token": "left over"}
    assert Render.of(params(tmp_path / "r.html", loki=False, **left)).run(cluster)["notes"] == []
    with pytest.raises(Invalid, match="loki_token and loki_ca need loki_url"):
        Render.of(params(tmp_path / "r.html", **left)).run(cluster)


def test_a_page_that_does_not_fit_leaves_the_older_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("an older one")
    cluster: Any = Empty()
    render = Render.of(params(path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(Invalid, match=f"cannot write {path}: File too large"):
            render.run(cluster)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "an older one" and list(tmp_path.iterdir()) == [path]


def test_check_mode_foresees_the_panels(tmp_path: Path) -> None:
    render = Render.of(params(tmp_path / "r.html", dashboards=["service-auth", "capacity"]))
    foreseen = render.foreseen()
    assert foreseen["dashboards"] == ["service-auth", "capacity"] and foreseen["panels"] > 30


@pytest.mark.parametrize(
    "change, words",
    [
        ({"path": "/does/not/exist/r.html"}, "path must name a file in a folder that exists"),
        ({"path": "/"}, "path must name a file"),
        ({"dashboards": ["x"]}, "there is no dashboard x"),
        ({"services": {"auth": None}}, "service auth: its entry must be a mapping"),
        (
            {"services": {"auth": {}, "web": {"slo": {"availability_percent": 99}}}},
            "service web: slo must be all of .* and not {'availability_percent': 99}$",
        ),
        ({"services": {"web": {"slo": "yes"}}}, "service web: slo must be all of .* and not 'yes'$"),
        ({"services": {"web": {"queue_age_seconds": "9"}}}, "service web: queue_age_seconds must be a number"),
        ({"services": {f"s{at}": {} for at in range(90)}, "dashboards": []}, "a page holds 1500 panels and not"),
        ({"hours": 0.0}, "hours must be"),
        ({"end": -1.0}, "end must be"),
    ],
)
def test_bad_wishes_are_one_sentence(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        Render.of(params(tmp_path / "r.html", **change))
