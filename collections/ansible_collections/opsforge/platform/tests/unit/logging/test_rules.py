# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert on logs is owned, and leads to a page of ours that says what to type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

COLLECTION = Path(__file__).parents[3]
CHECKOUT = COLLECTION.parents[3]
RULES = COLLECTION / "roles/logging/files/rules/logs.yml"


def alerts() -> list[dict[str, Any]]:
    """The alerts of the shipped rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_an_alert_on_services_hears_of_nobody_who_is_named_like_one() -> None:
    (errors,) = [alert["expr"] for alert in alerts() if alert["alert"] == "LogErrorsHigh"]
    (pattern,) = re.findall(r'job=~"([^"]+)"', errors)
    assert re.fullmatch(pattern, "auth-service") and not re.fullmatch(pattern, "shop/auth-service")


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
class TestAlert:
    def test_says_who_acts_how_soon_and_where(self, alert: dict[str, Any]) -> None:
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["labels"]["category"] in {"service_health", "monitoring"}
        assert set(re.findall(r"(?:^|}})([a-z]+)(?:$|{{)", alert["labels"]["team"])) in ({"sre"}, {"worker", "api"})
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["dashboard_url"].startswith("dashboards/")
        assert alert["annotations"]["runbook"]

    def test_leads_to_a_page_that_says_what_to_type(self, alert: dict[str, Any]) -> None:
        page = CHECKOUT / alert["annotations"]["runbook_url"]
        assert page == CHECKOUT / f"docs/runbooks/{alert['alert']}.md"
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {alert['alert']}\n")
        for part in ("**Means:**", "## Look", "## Do", "## Better again when", "$ kubectl "):
            assert part in text, part

    def test_stands_in_the_readme(self, alert: dict[str, Any]) -> None:
        readme = (COLLECTION / "roles/logging/README.md").read_text(encoding="utf-8")
        assert f"| [{alert['alert']}](" in readme
