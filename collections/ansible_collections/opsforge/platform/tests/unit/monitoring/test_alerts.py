# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert holds, is owned, and leads to a page of ours that says what to type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

COLLECTION = Path(__file__).parents[3]
CHECKOUT = COLLECTION.parents[3]
ROLE = COLLECTION / "roles/monitoring"
RULES = ROLE / "files/rules/platform.yml"
TESTS = sorted((ROLE / "files/tests").glob("*.yml"))
PAGES = CHECKOUT / "docs/runbooks"


def alerts() -> list[dict[str, Any]]:
    """The alerts of the shipped rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def cases() -> list[tuple[bool, str, bool]]:
    """(whether there was data, alert, whether it fired) of every expectation in the promtool tests."""
    return [
        (bool(test["input_series"]), expected["alertname"], bool(expected["exp_alerts"]))
        for path in TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for expected in test["alert_rule_test"]
    ]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
class TestAlert:
    def test_says_who_acts_how_soon_and_why(self, alert: dict[str, Any]) -> None:
        assert alert["labels"]["severity"] in {"critical", "warning", "none"}
        assert alert["labels"]["team"] in {"platform", "services"}
        assert alert["annotations"]["summary"]

    def test_leads_to_a_page_that_says_what_to_type(self, alert: dict[str, Any]) -> None:
        page = CHECKOUT / alert["annotations"]["runbook_url"]
        assert page == PAGES / f"{alert['alert']}.md"
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {alert['alert']}\n")
        for part in ("**Means:**", "## Look", "## Do", "## Better again when", "$ kubectl "):
            assert part in text, part

    def test_is_tested_firing_silent_and_without_data(self, alert: dict[str, Any]) -> None:
        mine = [(data, fired) for data, name, fired in cases() if name == alert["alert"]]
        assert any(fired for _, fired in mine)
        assert any(not data for data, _ in mine)
        # The dead man's switch has no silent state: that is its point.
        assert any(data and not fired for data, fired in mine) or alert["alert"] == "Watchdog"


def test_no_page_is_left_without_its_alert() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} - {alert["alert"] for alert in alerts()} == set()


def test_links_between_pages_resolve() -> None:
    missing = [
        f"{page.name}: {target}"
        for page in PAGES.glob("*.md")
        for target in re.findall(r"\]\(([^)#:]+\.md)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).is_file()
    ]
    assert missing == []
