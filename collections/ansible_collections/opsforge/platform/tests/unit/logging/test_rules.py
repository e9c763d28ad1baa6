# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts on logs; what every alert must have is asked in unit/monitoring."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

COLLECTION = Path(__file__).parents[3]
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
def test_an_alert_stands_in_the_readme(alert: dict[str, Any]) -> None:
    readme = (COLLECTION / "roles/logging/README.md").read_text(encoding="utf-8")
    assert f"| [{alert['alert']}](" in readme
