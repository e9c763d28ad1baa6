# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for Prometheus and Loki that speak their protocol, and what a reader finds on a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from http.client import HTTPMessage
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.opsforge.platform.plugins.module_utils import _page
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer
from ansible_collections.opsforge.platform.plugins.module_utils._panels import Dashboard, Panel, Row
from ansible_collections.opsforge.platform.plugins.module_utils._plots import Plotter
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import Prometheus
from ansible_collections.opsforge.platform.plugins.module_utils._report import Report, Reporter
from ansible_collections.opsforge.platform.plugins.module_utils._series import Source, Window

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
