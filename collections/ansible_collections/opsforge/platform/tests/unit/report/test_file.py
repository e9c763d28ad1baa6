# SPDX-License-Identifier: GPL-3.0-or-later
"""The file: written as a whole and once, and bad wishes before that."""

from __future__ import annotations

import resource
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer
from ansible_collections.opsforge.platform.plugins.module_utils._render import Render

from .sources import END, Say, healthy, server


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
