# SPDX-License-Identifier: GPL-3.0-or-later
"""report_render against a real Prometheus that knows two hours, and its page in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._dashboards import dashboards
from ansible_collections.opsforge.platform.plugins.module_utils._panels import LOKI
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import PROMETHEUS_DEFAULTS, Prometheus
from ansible_collections.opsforge.platform.plugins.module_utils._series import SERIES_LIMIT, Source, Window

from .browser import Browser
from .past import MOVED, NAMESPACE, SECONDS, Memory, shop
from .prometheus import promtool

Object = dict[str, Any]
RunModule = Callable[..., Object]
COLLECTION = Path(__file__).parents[3]
RULES = [
    COLLECTION / "roles/monitoring/files/rules" / f"{name}.yml"
    for name in ("services", "resources", "operations", "alerts_service_health")
]
SERVICES = yaml.safe_load((COLLECTION.parents[3] / "group_vars/shared.yml").read_text(encoding="utf-8"))[
    "platform_services_base"
]
SHOWN = {name: SERVICES[name] for name in ("catalog", "orders")}
BEGIN = 1767261600  # 2026-01-01 10:00 UTC
END = BEGIN + SECONDS
HOSTILE = '/"><script>document.title="taken"</script><img src="http://127.0.0.1:9/x">'
# Of the past that Prometheus is given here; a cluster knows more.
DRAWN = ["service-catalog", "service-orders", "releases", "slo-overview", "failure-signals", "capacity"]


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    """Start a Prometheus that remembers."""
    known = Memory(tmp_path_factory.mktemp("memory"), shop(HOSTILE), BEGIN, RULES)
    try:
        yield known
    finally:
        known.stop()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start a browser without a window."""
    started = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def render(run_module: RunModule, memory: Memory, tmp_path: Path) -> RunModule:
    """Return a function that runs the module over the two hours."""

    def run(**options: Any) -> Object:
        given: Object = {
            "prometheus_url": memory.url,
            "path": str(tmp_path / "report.html"),
            "services": SHOWN,
            "namespace": NAMESPACE,
            "hours": SECONDS / 3600,
            "end": END,
            "loki": False,
            "dashboards": DRAWN,
        }
        return run_module("report_render", **given | options)

    return run


def test_every_query_is_promql(tmp_path: Path) -> None:
    """All queries as rules of one file, since a call of promtool for each would take minutes."""
    queries = {
        dashboard.filled(query.expr)
        for dashboard in dashboards(SERVICES, NAMESPACE)
        for panel in dashboard.panels
        for query in panel.queries
        if query.source != LOKI
    }
    rules = [{"record": f"query:{at}", "expr": expr} for at, expr in enumerate(sorted(queries))]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", path)


def test_every_answer_has_the_labels_that_its_legend_names(memory: Memory) -> None:
    params = PROMETHEUS_DEFAULTS | {"prometheus_url": memory.url}
    source = Source(Prometheus.of(params, None))  # type: ignore[arg-type]
    window = Window.of(1, END)
    seen = 0
    for dashboard in dashboards(SHOWN, NAMESPACE):
        for panel in dashboard.panels:
            for query in panel.queries:
                found = source.range(dashboard.filled(query.expr), window).series if query.source != LOKI else ()
                wanted = {*query.labels, *panel.columns}
                assert [one.labels for one in found if wanted - set(one.labels)] == [], query.expr
                names = [query.named(one.labels) for one in found]
                assert panel.columns or len(names) == len(set(names)), f"two series of one name: {query.expr}"
                seen += bool(found)
    assert seen > 100


def test_it_is_told_when_prometheus_leaves_series_out(memory: Memory) -> None:
    params = PROMETHEUS_DEFAULTS | {"prometheus_url": memory.url}
    source = Source(Prometheus.of(params, None, limit=8 << 20))  # type: ignore[arg-type]
    window, every = Window.of(1, END), '{__name__=~".+"}'
    count = len(source.at(every, END, limit=None).series)
    assert count > SERIES_LIMIT
    for limit, found in (
        (SERIES_LIMIT, source.at(every, END)),
        (SERIES_LIMIT, source.range(every, window)),
        (count - 1, source.at(every, END, limit=count - 1)),
    ):
        assert found.cut and len(found.series) == limit
    assert not source.at(every, END, limit=count).cut and not source.range(every, window, limit=None).cut


def test_report_shows_the_two_hours(render: RunModule, tmp_path: Path) -> None:
    done = render()
    assert done["changed"] and done["errors"] == [] and done["dashboards"] == DRAWN
    page = (tmp_path / "report.html").read_text()
    assert done["size"] == len(page.encode())
    assert "service-catalog: Share of errors by slot" not in done["empty"]
    assert "2026-01-01 11:15" in page, f"traffic moved {MOVED} s after ten o'clock"
    assert "DiskFilling" in page and page.index("Strange") < page.index("DiskFilling"), "what fired then, worst first"
    assert "ServiceErrorRateHigh" not in page[: page.index('id="summary"')], "it was over by noon"
    again = render()
    assert not again["changed"], "the same samples are the same page"


def test_check_mode_says_what_it_would_write(render: RunModule, tmp_path: Path) -> None:
    foreseen = render(check=True)
    assert foreseen["changed"] and foreseen["dashboards"] == DRAWN
    assert not (tmp_path / "report.html").exists()
    assert render()["panels"] <= foreseen["panels"], "panels of logs need a Loki"


def test_a_prometheus_that_is_not_there_is_one_sentence(render: RunModule, tmp_path: Path) -> None:
    failed = render(prometheus_url="http://127.0.0.1:9")
    assert failed["failed"] is True
    assert failed["msg"] == (
        "there is nothing to draw a report from: Prometheus http://127.0.0.1:9 cannot be reached: connection refused"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_without_monitoring_is_one_sentence(render: RunModule) -> None:
    failed = render(prometheus_url="")
    assert "there is nothing to draw a report from: Prometheus (Service monitoring/prometheus:9090)" in failed["msg"]


@pytest.mark.parametrize("width, dark", [(1400, False), (1400, True), (390, False)], ids=["day", "night", "phone"])
def test_page_in_a_browser(render: RunModule, browser: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    render()
    browser.open(tmp_path / "report.html", width=width, dark=dark)
    assert browser.complaints == []
    assert {request.partition(":")[0] for request in browser.requests} <= {"file", "data"}
    assert browser.evaluate("document.title") == "Platform report", "no script of somebody else's ran"
    sizes = browser.evaluate(
        "[...document.querySelectorAll('main svg')].map(svg => svg.getBoundingClientRect())"
        ".map(box => [box.width, box.height])"
    )
    assert len(sizes) > 50 and all(across > 250 and down > 100 for across, down in sizes)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, "nothing is to the right of the page"
    assert browser.evaluate("document.querySelectorAll('script, img, iframe').length") == 0
    lines = browser.evaluate("getComputedStyle(document.querySelector('main svg path[style*=\"--s0\"]')).stroke")
    assert lines == ("rgb(110, 168, 254)" if dark else "rgb(31, 111, 214)"), "a picture has the colors of the page"
    unresolved = browser.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(link => link.getAttribute('href'))"
        ".filter(target => !document.getElementById(target.slice(1)))"
    )
    assert unresolved == []
