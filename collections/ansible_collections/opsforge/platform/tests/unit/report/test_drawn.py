# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page shows, and that nothing from outside becomes part of the page itself."""

from __future__ import annotations

import json
import math
import re
import sys
from http.client import HTTPMessage
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _figures
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer
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
    Variable,
    graph,
    number,
)
from ansible_collections.opsforge.platform.plugins.module_utils._plots import COLORS, Plotter
from ansible_collections.opsforge.platform.plugins.module_utils._report import LINES, Reporter
from ansible_collections.opsforge.platform.plugins.module_utils._series import SERIES_LIMIT, Series, Source
from ansible_collections.opsforge.platform.plugins.module_utils._units import SECONDS

from .sources import END, HOSTILE, WINDOW, Reader, drawn, healthy, limited, look, matrix, says, server, steady, vector


def test_nothing_from_outside_becomes_part_of_the_page() -> None:
    alert = {name: HOSTILE for name in ("alertname", "severity", "team", "x")}
    known = alert | {"y": HOSTILE}
    told = {"summary": HOSTILE, "runbook_url": "javascript:alert(3)"}
    words = {"labels": known, "annotations": told, "activeAt": "1970-01-01T00:00:09Z"}
    odd = {"labels": alert, "annotations": told, "activeAt": HOSTILE}

    def say(path: str, asked: dict[str, str]) -> Any:
        if path.endswith("/alerts"):
            return {"alerts": [words, odd, "no alert", None]}
        if asked["query"].startswith("ALERTS"):
            return vector((alert, "1e300"), (known, "9"))
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
    assert report.alerts and [alert for alert in report.alerts if "summary" in alert.annotations]
    addresses = found.values("href") + found.values("xlink:href") + found.values("src")
    assert addresses and all(re.match(r"#[\w-]+$|data:image/png;base64,", address) for address in addresses)


def test_the_page_asks_nobody_and_runs_nothing() -> None:
    page = drawn(look(graph("A", "A.", "up")))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "default-src &" not in page
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'" and "script-src" not in rules
    assert "http" not in re.sub(r'http-equiv|xmlns(:xlink)?="[^"]+"|Prometheus http://it', "", page)


@pytest.mark.parametrize("since", ["2026-01-01T07:00:00.987654321Z", "2026-01-01T12:00:00Z", None])
def test_a_firing_alert_leads_to_its_page_and_the_dead_mans_switch_is_no_alarm(since: str | None) -> None:
    """What its rule says now, of a later time that it fires, is not told of this one."""
    slow = {"alertname": "Slow", "severity": "warning"}
    words = {"summary": "too slow", "runbook_url": "https://docs.example.org/Slow.md"}

    def say(path: str, asked: dict[str, str]) -> Any:
        if path.endswith("/alerts"):
            return {"alerts": [{"state": "firing", "labels": slow, "annotations": words, "activeAt": since}]}
        if asked["query"].startswith("ALERTS_FOR_STATE"):
            return vector(({"__name__": "ALERTS_FOR_STATE", **slow}, str(END - 10800)))
        if asked["query"].startswith("ALERTS"):
            others = {"Stopped": "critical", "Watchdog": "none", "Hint": "info"}
            many = [slow, *({"alertname": name, "severity": severity} for name, severity in others.items())]
            return vector(*(({"__name__": "ALERTS", "alertstate": "firing", **labels}, "1") for labels in many))
        return healthy(path, asked)

    page = drawn(look(graph("A", "A.", "up"), say=say))
    the_same = since is not None and "T07:" in since
    assert ('<a href="https://docs.example.org/Slow.md" rel="noopener noreferrer">Slow</a>' in page) is the_same
    assert "<td>2026-01-01 07:00</td>" in page and ("too slow" in page) is the_same
    assert page.index("Stopped") < page.index(">Slow<") < page.index("Hint"), "the worst first"
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
    assert "2026-01-01 10:00:00" in found.text, "of an old line nobody sees from the time alone how old it is"
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


def test_the_query_below_a_panel_is_the_one_that_was_asked() -> None:
    asked: list[str] = []

    def say(path: str, question: dict[str, str]) -> Any:
        asked.append(question.get("query", ""))
        return healthy(path, question)

    row = Row("Row", (graph("A", "A.", 'up{service=~"$service"}'),))
    dashboard = Dashboard("board", "Board", "All.", (row,), variables=(Variable("service", "service", "up", "a.+"),))
    report = Reporter(Source(server(say)), WINDOW, "apps").look([dashboard])
    assert 'up{service=~"a.+"}' in asked and 'up{service=~"a.+"}' in Reader(drawn(report)).text
