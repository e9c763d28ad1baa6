# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert is tested, is owned, leads to a page of ours that says what to type, and to what can act."""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._dashboards import dashboards
from ansible_collections.opsforge.platform.plugins.module_utils._receivers import CATEGORIES, TEAMS
from ansible_collections.opsforge.platform.tests.unit.roles import CHECKOUT, ROLES

from .rendering import render

FILES = ROLES / "monitoring/files"
RULES = sorted((FILES / "rules").glob("alerts_*.yml"))
TESTS = sorted((FILES / "tests").glob("*.yml"))
PAGES = CHECKOUT / "docs/runbooks"
INDEX = PAGES / "README.md"

SEVERITIES = {"critical", "warning", "info", "none"}
# The names of the runbooks that could act on an alert; they are not part of the collection yet.
RUNBOOKS = {
    "restart_workload",
    "rollback_release",
    "scale_workload",
    "drain_node",
    "uncordon_node",
    "renew_certificate",
    "clean_disk",
    "requeue_jobs",
    "restore_backup",
    "restart_runner",
}
_NAMED = re.compile(r"""alertname!?=~?\\?["']([\w|]+)""")
_LABEL = re.compile(r"\{\{ \$labels\.\w+ \}\}")
_WORD = re.compile(r"(?:\}\}|^)(\w+)(?=\{\{|$)")

Alert = dict[str, Any]


def alerts_in(text: str) -> list[Alert]:
    """The alerts of a file of rules."""
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule]


@cache
def shipped() -> list[Alert]:
    """The alerts that promtool tests where they stand."""
    return [alert for path in RULES for alert in alerts_in(path.read_text(encoding="utf-8"))]


@cache
def elsewhere() -> list[Alert]:
    """Those generated from objectives, and those that Loki evaluates: they are tested with what makes them."""
    made = render(monitoring_docs_url="docs/", monitoring_dashboards_url="dashboards/")
    text = made["ConfigMap", "prometheus"]["data"]["rules-slo.yml"]
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    # An objective says whose it is, and its alerts have it from there.
    objectives = [rule["labels"] for rule in rules if rule.get("record") == "slo:objective:ratio"]
    burning = [
        {**alert, "labels": {**objective, **alert["labels"]}} for objective in objectives for alert in alerts_in(text)
    ]
    logs = (ROLES / "logging/files/rules/logs.yml").read_text(encoding="utf-8")
    return burning + alerts_in(logs)


def every() -> list[Alert]:
    """All alerts that may reach somebody."""
    return shipped() + elsewhere()


@cache
def cases() -> list[tuple[bool, str, set[str]]]:
    """(whether there was data, alert, severities that fired) of every expectation in the promtool tests."""
    return [
        (bool(test["input_series"]), expected["alertname"], {one["exp_labels"]["severity"] for one in fired})
        for path in TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for expected in test.get("alert_rule_test", [])
        for fired in [expected["exp_alerts"]]
    ]


@cache
def boards() -> set[str]:
    """The dashboards of the shop."""
    shared = yaml.safe_load((CHECKOUT / "group_vars/shared.yml").read_text(encoding="utf-8"))
    return {board.uid for board in dashboards(shared["platform_services_base"], shared["platform_namespace"])}


def test_an_alert_that_rules_or_inhibitions_name_is_one_of_ours() -> None:
    """One that nobody has explains nothing, and no series would tell."""
    made = render()
    rules = [text for name, text in made["ConfigMap", "prometheus"]["data"].items() if name.startswith("rules-")]
    inhibitions = base64.b64decode(made["Secret", "alertmanager"]["data"]["alertmanager.yml"]).decode()
    named = {name for text in (*rules, inhibitions) for names in _NAMED.findall(text) for name in names.split("|")}
    assert {"ServiceDown", "GatewayDown", "QueueWithoutWorkers", "NodeUnreachable"} <= named
    assert named - {alert["alert"] for alert in every()} == set()


def words(text: str) -> set[str]:
    """All that this may come to say: it is a word, or a template with a word in each branch."""
    return set(_WORD.findall(text))


@pytest.mark.parametrize("alert", every(), ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
class TestAlert:
    def test_says_who_acts_how_soon_and_on_what(self, alert: Alert) -> None:
        labels = alert["labels"]
        assert labels["severity"] in SEVERITIES and labels["category"] in CATEGORIES
        assert words(labels["team"]) and words(labels["team"]) <= set(TEAMS)
        assert alert["annotations"]["summary"]

    def test_leads_to_a_page_that_says_what_to_type(self, alert: Alert) -> None:
        page = CHECKOUT / alert["annotations"]["runbook_url"]
        assert page == PAGES / f"{alert['alert']}.md"
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {alert['alert']}\n")
        for part in ("**Means:**", "## Look", "## Do", "## Better again when", "$ kubectl "):
            assert part in text, part

    def test_shows_where_to_look(self, alert: Alert) -> None:
        folder, _, uid = alert["annotations"]["dashboard_url"].partition("/")
        assert folder == "dashboards"
        if _LABEL.search(uid):
            assert uid == "service-{{ $labels.service }}"
        else:
            assert uid in boards()

    def test_names_what_can_act_or_says_why_nothing_may(self, alert: Alert) -> None:
        told = alert["annotations"]
        assert words(told["runbook"]) and words(told["runbook"]) <= RUNBOOKS | {"none"}
        reason = told.get("runbook_reason", "")
        assert bool(reason) == (told["runbook"] == "none")
        assert not reason or (reason[0].isupper() and reason.endswith("."))


@pytest.mark.parametrize("alert", shipped(), ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_is_tested_firing_silent_and_without_data(alert: Alert) -> None:
    severity = alert["labels"]["severity"]
    mine = [(data, severity in fired) for data, name, fired in cases() if name == alert["alert"]]
    assert any(fired for _, fired in mine)
    assert any(not data for data, _ in mine)
    assert any(data and not fired for data, fired in mine)


def test_nothing_that_is_a_share_of_few_fires() -> None:
    """Three failures at night are no outage: what is a share of events asks for a number of them."""
    hasty = {
        alert["alert"]
        for alert in shipped()
        if re.search(r"/\s*sum[^/]*rate\(|ratio_rate", alert["expr"])
        and not re.search(r">=? *\d+\s*(\)|$)", alert["expr"], re.MULTILINE)
    }
    assert hasty == {"NodeCPUHigh"}, "a share of time, which there is always enough of"


def test_a_page_is_the_exception() -> None:
    """Whoever is woken for causes stops reading."""
    pages = [alert for alert in shipped() if alert["labels"]["severity"] == "critical"]
    assert len(pages) < len(shipped()) / 2
    assert not [page["alert"] for page in pages if "for" not in page]


def test_no_page_is_left_without_its_alert() -> None:
    names = {alert["alert"] for alert in every()}
    assert {page.stem for page in PAGES.glob("*.md")} - names == {INDEX.stem}


def index() -> list[str]:
    """The rows of the index: by category, in the order that the alerts have."""
    found: dict[str, list[Alert]] = {}
    for alert in sorted(every(), key=lambda alert: CATEGORIES.index(alert["labels"]["category"])):
        found.setdefault(alert["alert"], []).append(alert)
    return [
        "| [{0}]({0}.md) | {1} | {2} |".format(
            name,
            ", ".join(sorted({alert["labels"]["severity"] for alert in alerts})),
            ", ".join(sorted(words(alerts[0]["annotations"]["runbook"]))),
        )
        for name, alerts in found.items()
    ]


def test_the_index_is_of_all_of_them() -> None:
    found = [line for line in INDEX.read_text(encoding="utf-8").splitlines() if line.startswith("| [")]
    assert found == index(), "\n".join(index())


def test_links_between_pages_resolve() -> None:
    missing = [
        f"{page.name}: {target}"
        for page in PAGES.glob("*.md")
        for target in re.findall(r"\]\(([^)#:]+\.md)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).is_file()
    ]
    assert missing == []


def test_a_page_searches_the_log_of_the_entrance_for_what_it_writes() -> None:
    settings = yaml.safe_load((ROLES / "gateway/vars/main.yml").read_text(encoding="utf-8"))
    lines = [line for page in PAGES.glob("*.md") for line in page.read_text(encoding="utf-8").splitlines()]
    asked = {
        name
        for line in lines
        if "logs --selector app.kubernetes.io/name=envoy " in line
        for name in re.findall(r'"(\w+)":', line)
    }
    assert asked and asked <= set(settings["__gateway_access_log"])
