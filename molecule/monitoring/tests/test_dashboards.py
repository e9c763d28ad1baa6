# SPDX-License-Identifier: GPL-3.0-or-later
"""Every panel has data on the platform once people have walked through the shop, and the report is drawn of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._dashboards import dashboards
from ansible_collections.opsforge.platform.plugins.module_utils._panels import Dashboard, Panel, Row
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import Prometheus
from ansible_collections.opsforge.platform.plugins.module_utils._report import Finding, Reporter
from ansible_collections.opsforge.platform.plugins.module_utils._series import Source, Window
from ansible_collections.opsforge.platform.plugins.modules.report_render import ARGUMENT_SPEC
from loadtests.walk import Loopback, Shop

if TYPE_CHECKING:
    from conftest import Site

CHECKOUT = Path(__file__).parents[3]
HTTP_NODE_PORT = 30080
NAMESPACE = "apps"
SERVICES: dict[str, Any] = yaml.safe_load((CHECKOUT / "group_vars/shared.yml").read_text(encoding="utf-8"))[
    "platform_services_base"
]
# A rate needs two samples, what is recorded of it one evaluation more, and what reads that another one.
PATIENCE = 240  # seconds


@pytest.fixture(scope="module")
def walked() -> set[str]:
    """Which platforms have had their traffic; once for all tests."""
    return set()


@pytest.fixture
def shop(site: Site, walked: set[str]) -> Shop:
    """The entrance, after a walk that touches every service."""
    entrance = Shop(Loopback(f"http://{site.published(HTTP_NODE_PORT)}"), patience=60)
    if site.platform not in walked:
        walk(entrance)
        walked.add(site.platform)
    return entrance


def walk(shop: Shop) -> None:
    """Somebody buys, is declined, gives the wrong password, and hands in work; all of it a few times."""
    for _ in range(3):
        customer = shop.sign_up()
        product = customer.browse()[0]["id"]
        customer.buy(product)
        customer.buy(product, payment_method="tok_declined")
        customer.notifications()
        shop.ask("POST", "/auth/login", body={"email": customer.email, "password": "wrong"}, expect=(401,))
        customer.have_computed(uuid4().hex)
        for service, entry in SERVICES.items():
            if entry.get("path"):
                shop.ask("GET", f"{entry['path']}/info", name=service)


def look(site: Site, chosen: Sequence[Dashboard]) -> list[tuple[Dashboard, Finding]]:
    """What the last half hour holds for each panel, asked for through the API server as the report asks."""
    params = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    prometheus = Source(Prometheus.of(params, site.cluster, limit=8 << 20))
    loki = Source.loki(Prometheus.of(params, site.cluster, limit=8 << 20, title="Loki"))
    report = Reporter(prometheus, Window.of(0.5), NAMESPACE, loki=loki).look(chosen)
    assert report.notes == (), "something was not there to be asked"
    return [(dashboard, finding) for dashboard in report.dashboards for finding in report.findings[dashboard.uid]]


def only(dashboard: Dashboard, panel: Panel) -> Dashboard:
    """The same dashboard with this panel alone."""
    return replace(dashboard, rows=(Row("", (panel,)),))


def test_every_panel_has_data_and_no_query_fails(site: Site, shop: Shop) -> None:
    """The first look is at all of them; those that were empty are looked at again until what is recorded has come."""
    left: list[Dashboard] = list(dashboards(SERVICES, NAMESPACE))
    failed: list[str] = []

    def complete() -> bool:
        found = look(site, left)
        failed.extend(f"{board.uid}: {one.panel.title}: {why}" for board, one in found for why in one.errors)
        left[:] = [only(board, one.panel) for board, one in found if one.is_empty and not one.errors]
        if left and not failed:
            # A counter that is new has not grown yet: it takes a second walk to see that it does.
            walk(shop)
        return not left or bool(failed)

    with contextlib.suppress(AssertionError):  # told below, by name
        site.eventually(complete, PATIENCE)
    assert failed == []
    assert [f"{board.uid}: {panel.title}" for board in left for panel in board.panels] == []


def test_every_series_has_the_name_that_its_legend_gives_it(site: Site, shop: Shop) -> None:
    for board, finding in look(site, dashboards(SERVICES, NAMESPACE)):
        for query, many in finding.series:
            wanted = {*query.labels, *finding.panel.columns}
            nameless = [one.labels for one in many if wanted - set(one.labels)]
            assert nameless == [], f"{board.uid}: {finding.panel.title}"


def play(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook as people do."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), f"{CHECKOUT}/playbooks/report.yml", *words]
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "OPSFORGE_PLATFORM": site.platform,
    }
    return subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)


def test_the_report_is_written_and_check_mode_writes_nothing(site: Site, shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    given = json.dumps({"report_file": str(path), "report_hours": 1})
    foreseen = play(site, "--check", "-e", given)
    assert foreseen.returncode == 0 and not path.exists(), foreseen.stdout[-2000:]
    done = play(site, "-e", given)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-1000:]
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") > 200 and "<script" not in page
    for service in SERVICES:
        assert f'id="service-{service}"' in page


def test_an_unknown_dashboard_is_one_sentence(site: Site, tmp_path: Path) -> None:
    given = json.dumps({"report_file": str(tmp_path / "report.html"), "report_dashboards": ["nothing"]})
    refused = play(site, "-e", given)
    assert refused.returncode != 0 and "there is no dashboard nothing" in " ".join(refused.stdout.split())
    assert list(tmp_path.iterdir()) == []
