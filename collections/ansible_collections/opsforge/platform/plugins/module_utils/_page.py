# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as one HTML page: no script, no request to anywhere, and everything from outside escaped."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from ansible_collections.opsforge.platform.plugins.module_utils._alerts import Alert
from ansible_collections.opsforge.platform.plugins.module_utils._figures import ROWS, SIGNS, figure, slot, tone
from ansible_collections.opsforge.platform.plugins.module_utils._html import Html, element, join, link, plain, table
from ansible_collections.opsforge.platform.plugins.module_utils._moves import Move
from ansible_collections.opsforge.platform.plugins.module_utils._page_style import STYLE
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    LOGS,
    STAT,
    TABLE,
    Dashboard,
    Panel,
)
from ansible_collections.opsforge.platform.plugins.module_utils._plots import Plotter
from ansible_collections.opsforge.platform.plugins.module_utils._report import Report
from ansible_collections.opsforge.platform.plugins.module_utils._units import moment

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(report: Report, title: str, plotter: Plotter) -> str:
    """The whole page. The same report is the same text."""
    head = join(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'),
        element("title", title),
        element("style", Html(STYLE)),
    )
    sections = [_dashboard(report, dashboard, plotter) for dashboard in report.dashboards]
    body = join(
        _top(report, title), element("main", _alerts(report), _summary(report, plotter), _moved(report), *sections)
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _top(report: Report, title: str) -> Html:
    window = report.window
    links = [("alerts", "Firing alerts"), ("summary", "Promises"), ("moves", "Moves of traffic")]
    links += [(dashboard.uid, dashboard.title) for dashboard in report.dashboards]
    contents = (element("li", element("a", text, href=f"#{target}")) for target, text in links)
    sparse = " Shorter peaks between two points are not seen." if window.step > 300 else ""
    return element(
        "header",
        element("h1", title),
        element(
            "p",
            element("time", moment(window.start)[:-3], datetime=_iso(window.start)),
            " to ",
            element("time", moment(window.end)[:-3], datetime=_iso(window.end)),
            f" UTC, a point every {window.step // 60} min."
            if window.step >= 60
            else f" UTC, a point every {window.step} s.",
            f"{sparse} From {plain(' and '.join(report.sources))}.",
        ),
        *(element("p", plain(note, 500), class_="note") for note in report.notes),
        element("nav", element("ul", *contents), aria_label="Contents"),
    )


def _alerts(report: Report) -> Html:
    rows = [
        (
            element("span", f"{SIGNS.get(alert.severity, '●')} {plain(alert.severity)}", class_=tone(alert.severity)),
            join(
                element("strong", link(plain(alert.labels.get("alertname", "")), alert.annotations.get("runbook_url"))),
                element("div", plain(alert.annotations.get("summary", ""))),
                element("div", plain(_about(alert)), class_="dim"),
            ),
            plain(alert.labels.get("team", "")),
            "" if alert.since is None else moment(alert.since)[:-3],
        )
        for alert in report.alerts or ()
    ]
    head = ("Severity", "Alert", "Team", "Since (UTC)")
    shown = table(head, rows[:ROWS], label="Firing alerts") if rows else _none(report.alerts, "No alert fires.")
    more = [element("p", f"{len(rows) - ROWS} more fire.", class_="note")] if len(rows) > ROWS else []
    return element("section", element("h2", "Firing alerts"), shown, *more, id="alerts")


def _about(alert: Alert) -> str:
    """The labels that stand nowhere else."""
    told = ("alertname", "severity", "team", "category")
    return ", ".join(f"{key}={value}" for key, value in sorted(alert.labels.items()) if key not in told)


def _summary(report: Report, plotter: Plotter) -> Html:
    return element(
        "section",
        element("h2", "Promises"),
        *(figure(one, report.window, (), plotter, f"summary-{at}") for at, one in enumerate(report.summary)),
        id="summary",
    )


def _moved(report: Report) -> Html:
    rows = [
        (moment(move.time)[:-3], plain(move.service), slot(move.slot), plain(move.version))
        for move in reversed(report.moves or ())
    ]
    head = ("About (UTC)", "Service", "To slot", "Version")
    shown = (
        table(head, rows[:ROWS], label="Moves of traffic")
        if rows
        else _none(report.moves, "No traffic was moved in this time.")
    )
    more = [element("p", f"{len(rows) - ROWS} earlier ones are not shown.", class_="note")] if len(rows) > ROWS else []
    return element("section", element("h2", "Moves of traffic"), shown, *more, id="moves")


def _none(found: object, fine: str) -> Html:
    """What stands in place of an empty table: that it is fine, unless nobody could say what belongs there."""
    return element("p", "Not known.", class_="note") if found is None else element("p", fine, class_="fine")


def _dashboard(report: Report, dashboard: Dashboard, plotter: Plotter) -> Html:
    findings = iter(report.findings[dashboard.uid])
    moves = _marked(report.moves or (), dashboard)
    rows = []
    number = 0
    for row in dashboard.rows:
        mine = [next(findings) for _ in row.panels]
        drawn: list[Html] = []
        for finding in mine:
            number += 1
            drawn.append(figure(finding, report.window, moves, plotter, f"{dashboard.uid}-{number}"))
        grids = [
            element("div", *(picture for _, picture in group), class_=f"grid {kind}")
            for kind, group in groupby(zip(mine, drawn, strict=True), key=lambda pair: _grid(pair[0].panel))
        ]
        rows.append(join(element("h3", row.title), *grids))
    return element("section", element("h2", dashboard.title), element("p", dashboard.tells), *rows, id=dashboard.uid)


def _grid(panel: Panel) -> str:
    return {STAT: "stats", TABLE: "wide", LOGS: "wide"}.get(panel.kind, "plots")


def _marked(moves: Iterable[Move], dashboard: Dashboard) -> list[float]:
    """The moments to mark on a dashboard: those of its own service, or of all."""
    return sorted({move.time for move in moves if dashboard.markers and dashboard.service in ("", move.service)})


def _iso(seconds: float) -> str:
    return moment(seconds).replace(" ", "T") + "Z" if seconds < 1e12 else ""
