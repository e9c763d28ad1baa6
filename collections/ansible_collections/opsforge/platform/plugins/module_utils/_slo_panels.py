# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels of promises: what was promised, what is kept, and what is left of the budget for failing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    CRITICAL,
    STAT,
    TABLE,
    Dashboard,
    Panel,
    Query,
    Row,
    Threshold,
)
from ansible_collections.opsforge.platform.plugins.module_utils._units import COUNT, RATIO

_WINDOWS = ("5m", "1h", "6h", "3d")
# A budget that is used twice as fast as it may lasts half as long; from 14.4 times on somebody is woken.
_BURNING = (Threshold(1), Threshold(14.4, CRITICAL))
_SPENT = (Threshold(0.25, below=True), Threshold(0, CRITICAL, below=True))


def _or_untouched(record: str, labels: str, otherwise: int) -> str:
    """What is recorded; while nothing was asked for at all, what that means: nothing failed."""
    return f"{record}{{{labels}}} or {otherwise} + 0 * slo:objective:ratio{{{labels}}}"


def _left(labels: str = "") -> str:
    return _or_untouched("slo:period_error_budget_remaining:ratio", labels, 1)


def _burn(window: str, labels: str = "") -> str:
    share = f"slo:sli_error:ratio_rate{window}"
    asked = f"{share}{{{labels}}} / slo:error_budget:ratio{{{labels}}}"
    return f"{asked} or 0 * slo:objective:ratio{{{labels}}}"


def table() -> Panel:
    """All promises in one table: it also stands on top of each report."""
    columns = ("service", "slo")
    by = "max by (service, slo)"
    return Panel(
        "Promises of the services",
        "For each promise: the share that must go well, the share that did in the last hour and in 30 days, how many "
        "times faster than it may the budget is used now, and what is left of it.",
        (
            Query(f"{by} (slo:objective:ratio)", "promised", unit=RATIO),
            Query(f"{by} (1 - slo:sli_error:ratio_rate1h)", "last hour", unit=RATIO),
            Query(f"{by} (1 - slo:sli_error:ratio_rate30d)", "30 days", unit=RATIO),
            Query(f"{by} ({_burn('5m')})", "burn rate", unit=COUNT),
            Query(f"{by} ({_left()})", "budget left", unit=RATIO),
        ),
        RATIO,
        TABLE,
        width=24,
        columns=columns,
    )


def of_service(service: str, entry: Mapping[str, Any]) -> list[Row]:
    """The promises of one service; no row without one."""
    if not entry.get("slo") and not entry.get("queue_age_seconds"):
        return []
    labels = f'service="{service}"'
    return [
        Row(
            "Objectives",
            (
                Panel(
                    "Budget left",
                    "Of what may fail in 30 days.",
                    (Query(f"max by (slo) ({_left(labels)})", "{{slo}}"),),
                    RATIO,
                    STAT,
                    _SPENT,
                    width=6,
                ),
                Panel(
                    "Error budget left",
                    "What is left of the failures that 30 days may have; below 0 the promise is broken.",
                    (Query(f"max by (slo) ({_left(labels)})", "{{slo}}"),),
                    RATIO,
                    thresholds=_SPENT,
                    top=1,
                ),
                *(
                    Panel(
                        f"Burn rate of {window}",
                        "How many times faster than it may the budget is used.",
                        (Query(f"max by (slo) ({_burn(window, labels)})", "{{slo}}"),),
                        thresholds=_BURNING,
                    )
                    for window in ("5m", "1h")
                ),
            ),
        )
    ]


def overview() -> Dashboard:
    """All promises of all services."""
    name = "{{service}} {{slo}}"
    return Dashboard(
        uid="slo-overview",
        title="Objectives",
        tells="What was promised of the services, what is kept, and how fast the budgets for failing are used.",
        rows=(
            Row("Now", (table(),)),
            Row(
                "Budgets",
                (
                    Panel(
                        "Error budget left",
                        "What is left of the failures that 30 days may have.",
                        (Query(f"max by (service, slo) ({_left()})", name),),
                        RATIO,
                        thresholds=_SPENT,
                        width=12,
                        top=1,
                    ),
                    Panel(
                        "Events of an hour",
                        "Requests, or minutes of a queue, that the promises are measured by.",
                        (Query("max by (service, slo) (slo:sli_events:increase1h)", name),),
                        width=12,
                    ),
                ),
            ),
            Row(
                "Burn rates",
                tuple(
                    Panel(
                        f"Burn rate of {window}",
                        "How many times faster than it may the budget is used.",
                        (Query(f"max by (service, slo) ({_burn(window)})", name),),
                        thresholds=_BURNING,
                        width=12,
                    )
                    for window in _WINDOWS
                ),
            ),
        ),
        tags=("slo",),
        markers=True,
    )
