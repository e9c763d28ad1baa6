# SPDX-License-Identifier: GPL-3.0-or-later
"""What rules read and pages name is there: no other test would tell of a name that nobody has."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from loadtests.entrance import entrance
from loadtests.walk import Loopback, Shop

if TYPE_CHECKING:
    from conftest import Ask, Site

CHECKOUT = Path(__file__).parents[3]
RULES = CHECKOUT / "collections/ansible_collections/opsforge/platform/roles/monitoring/files/rules"
PAGES = sorted((CHECKOUT / "docs/runbooks").glob("*.md"))

# What an alert selects its fault by: on a platform that is well no series has these values.
FAULTS = {
    "alertname",
    "annotation_opsforge_dev_traffic_slot",
    "code",
    "condition",
    "envoy_response_code_class",
    "outcome",
    "rcode",
    "reason",
}
FAULTS |= {"configmap", "label_opsforge_dev_component", "label_opsforge_dev_incident_state", "phase", "state", "status"}
# What is there only after something happened, or where somebody set it up.
RARE = re.compile(
    "opsforge_backup_.+|prometheus_remote_storage_.+|kubelet_volume_stats_.+|.+:kubelet_volume_stats_available:ratio"
    "|kube_configmap_.+|kube_job_failed|kube_pod_(completion_time|deletion_timestamp|status_unschedulable)"
    "|kube_pod_.*container_status_(.*terminated|waiting)_.+|(jobs|payments)_total|payments_differences"
    "|ALERTS|.+:kube_service_annotations:down|.+:gateway_down|.+:(http_errors|queue_workers):known"
    "|apiserver_admission_webhook_request_total|loki_discarded_samples_total"
    "|notifications_deliveries_total|.+:payments_failed:ratio_rate15m|.+:job_duration_seconds:.+"
    # Where nodes are containers, nobody counts what a container writes.
    "|container_fs_writes_bytes_total"
    "|otelcol_.+_(send_failed|enqueue_failed|refused)_log_records"
)


def test_every_shipped_rule_is_loaded_and_evaluates(ask: Ask) -> None:
    groups = ask("monitoring/prometheus", "api/v1/rules")["data"]["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    names = {rule.get("alert") or rule["record"] for rule in _shipped()}
    assert names - {rule["name"] for rule in loaded} == set()
    assert [(rule["name"], rule.get("lastError")) for rule in loaded if rule["health"] == "err"] == []


def _shipped() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def _selectors(node: Any) -> Iterator[list[dict[str, str]]]:
    """The matchers of each selector of an expression, as Prometheus itself reads it."""
    if isinstance(node, list):
        for part in node:
            yield from _selectors(part)
    elif isinstance(node, dict):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            yield node["matchers"]
        for part in node.values():
            yield from _selectors(part)


@pytest.fixture
def visited(site: Site, ask: Ask) -> None:
    """Somebody used the shop lately: what is recorded of traffic is there only then."""
    shop = Shop(Loopback(f"http://{entrance(site.platform)}"), patience=60)

    def is_recorded() -> bool:
        query = "count(namespace_service:http_errors:ratio_rate5m) > 1"
        if ask("monitoring/prometheus", "api/v1/query", query=query)["data"]["result"]:
            return True
        # Again: of requests that all came before a counter was first read no rate is known.
        customer = shop.sign_up()
        customer.buy(customer.browse()[0]["id"])
        return False

    site.eventually(is_recorded, 120)


def _parsed(ask: Ask, query: str) -> Any:
    """A query as Prometheus itself reads it."""
    return ask("monitoring/prometheus", "api/v1/parse_query", query=query)["data"]


def _is_there(ask: Ask, selector: str) -> bool:
    """Whether any series is selected, lately or before."""
    return bool(ask("monitoring/prometheus", "api/v1/label/__name__/values", **{"match[]": selector})["data"])


@pytest.mark.usefixtures("visited")
@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in _shipped() if "alert" in rule}))
def test_what_an_alert_reads_is_there(ask: Ask, alert: str) -> None:
    """A name that nobody exposes is an alert that never fires, and no other test would tell."""
    for rule in _shipped():
        if rule.get("alert") != alert:
            continue
        for matchers in _selectors(_parsed(ask, rule["expr"])):
            known = [one for one in matchers if one["name"] not in FAULTS and not one["type"].startswith("!")]
            wanted = "{" + ",".join(f"{one['name']}{one['type']}{json.dumps(one['value'])}" for one in known) + "}"
            if not any(one["name"] == "__name__" and RARE.fullmatch(one["value"]) for one in known):
                assert _is_there(ask, wanted), wanted


# A command is a line with the prompt, and those below it that go on with it.
COMMAND = re.compile(r"^ *\$ (.+(?:\n(?! *(?:\$|```)).*)*)", re.MULTILINE)
# What kubectl says where all is well.
WELL = re.compile("Defaulted |Found |No (resources|events) found")
PLACEHOLDER = re.compile(r"<[a-z][^<>]*>")


def _commands(page: Path, *parts: str) -> list[str]:
    """The commands of a page under its headings that begin so; all of them without any."""
    found = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [command for part in found if part.startswith(parts or "") for command in COMMAND.findall(part)]


def _stem(page: Path) -> str:
    return page.stem


def _queries(page: Path) -> list[str]:
    return [query for command in _commands(page) for query in re.findall(r"^prom '([^']+)'", command)]


@pytest.mark.usefixtures("visited")
@pytest.mark.parametrize("page", [page for page in PAGES if _queries(page)], ids=_stem)
def test_what_a_page_asks_is_there(ask: Ask, page: Path) -> None:
    """Who reads it at night takes an empty answer for a good one. Only names have to be there."""
    for query in _queries(page):
        for matchers in _selectors(_parsed(ask, query)):
            (name,) = (one for one in matchers if one["name"] == "__name__")
            labels = sorted({one["name"] for one in matchers} - FAULTS - {"__name__"})
            parts = [f"__name__{name['type']}{json.dumps(name['value'])}", *(f'{label}!=""' for label in labels)]
            wanted = "{" + ",".join(parts) + "}"
            if not RARE.fullmatch(name["value"]):
                assert _is_there(ask, wanted), f"{query}: {wanted}"


@pytest.fixture
def shell(site: Site) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Type a line as whoever follows a page does."""
    cache = Path(os.environ.get("OPSFORGE_CACHE", "~/.cache/opsforge")).expanduser()
    *_, programs = sorted(program.parent for program in cache.glob("files/kubernetes/*/kubectl"))
    environment = {**os.environ, "KUBECONFIG": site.kubeconfig, "PATH": f"{programs}:{os.environ['PATH']}"}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, timeout=60)

    return run


def _readable(page: Path) -> list[str]:
    """What only looks, at what every platform has: the other slot may not be there."""
    lines = [line for line in _commands(page, "Look", "Better") if line.startswith("kubectl ")]
    return [line for line in lines if not PLACEHOLDER.search(line) and "-green" not in line]


@pytest.mark.parametrize("page", [page for page in PAGES if _readable(page)], ids=_stem)
def test_the_commands_of_a_page_work(shell: Callable[[str], subprocess.CompletedProcess[str]], page: Path) -> None:
    for line in _readable(page):
        done = shell(line)
        assert [said for said in done.stderr.splitlines() if not WELL.match(said)] == [], line
        # A search finds nothing where all is well.
        assert done.returncode == 0 or "| grep " in line, line
