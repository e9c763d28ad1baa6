# SPDX-License-Identifier: GPL-3.0-or-later
"""Alerts on error budgets, in rules that the role rendered and promtool plays: hours of a shop's life, one a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.tests.unit.monitoring.rendering import render

from .prometheus import play

Object = dict[str, Any]

ANSWERS = 'http_requests_total{namespace="apps",service="auth",slot="blue",route="/login",status="%s"}'
PROBES = 'http_requests_total{namespace="apps",service="auth",slot="blue",route="/health",status="503"}'
TIMES = 'http_request_duration_seconds_%s{namespace="apps",service="auth",slot="blue",route="/login"%s}'
AGE = 'queue_oldest_age_seconds{namespace="apps",service="jobs",pod="a"}'

DOCUMENT: Object = {
    "version": "prometheus/v1",
    "service": "door",
    "labels": {"owner": "us"},
    "slos": [
        {
            "name": "opens",
            "objective": 99,
            "sli": {
                "events": {
                    "error_query": 'sum(rate(door_asked_total{result="stuck"}[{{.window}}]))',
                    "total_query": "sum(rate(door_asked_total[{{ .window }}]))",
                }
            },
            "alerting": {
                "name": "DoorStuck",
                "labels": {"floor": "1"},
                "annotations": {"summary": "The door is stuck"},
                "page_alert": {"labels": {"severity": "loud"}},
                "ticket_alert": {"disable": True},
            },
        },
        {
            "name": "shut",
            "objective": 99,
            "sli": {"raw": {"error_ratio_query": "1 - avg_over_time(door_shut[{{.window}}])"}},
        },
    ],
}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The rule file, as Prometheus gets it."""
    path = tmp_path_factory.mktemp("slo") / "rules-slo.yml"
    objects = render(monitoring_docs_url="docs/", monitoring_dashboards_url="dashboards/", monitoring_slos=[DOCUMENT])
    path.write_text(objects["ConfigMap", "prometheus"]["data"]["rules-slo.yml"], encoding="utf-8")
    return [path]


def fired(minutes: int, *windows: str, alert: str = "SLOBurnRateHigh") -> Object:
    """What stands at that minute: these windows, of the promise under test."""
    query = f'count by (slo, window, severity) (ALERTS{{alertname="{alert}"}})'
    samples = []
    for window in windows:
        slo, _, window = window.rpartition(" ")
        severity = "critical" if window in ("1h", "6h") else "warning"
        labels = {"severity": severity, "slo": slo or "availability", "window": window}
        samples.append(
            {"labels": "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}", "value": 1}
        )
    return {"eval_time": f"{minutes}m", "expr": query, "exp_samples": samples}


def answers(good: str, failed: str) -> dict[str, str]:
    return {ANSWERS % 200: good, ANSWERS % 500: failed}


@pytest.mark.parametrize(
    "series, expected",
    [
        pytest.param(
            # 600 a minute; from the half hour on a tenth of them fails, for ten minutes.
            answers("0+600x30 18540+540x10 24000+600x50", "0x30 60+60x10 600x50"),
            [fired(33), fired(37, "1h"), fired(40, "1h"), fired(48), fired(80)],
            id="fast burn, which is over as soon as it ends",
        ),
        pytest.param(answers("0+993x130", "0+7x130"), [fired(125)], id="seven times too fast, for two hours"),
        pytest.param(answers("0+9995x130", "0+5x130"), [fired(125)], id="within the budget"),
        pytest.param(
            answers("0 0 0 1 1 1 1 2x110", "0x20 1 2 3x100"),
            [fired(minute) for minute in (21, 22, 23, 25, 40, 70, 110)],
            id="three failures at night",
        ),
        pytest.param(answers("0x60", "0+2x60"), [fired(3), fired(8, "1h")], id="few ask, and nobody gets an answer"),
        pytest.param(
            answers("0+100x60", "0x21 60x40"), [fired(22, "1h"), fired(27)], id="a burst is told of while it matters"
        ),
        pytest.param({**answers("0+600x60", "0x60"), PROBES: "0+600x60"}, [fired(40)], id="probes do not count"),
        pytest.param({}, [fired(40)], id="no data"),
        pytest.param(answers("7x90", "3x90"), [fired(80)], id="nobody asks"),
        pytest.param(
            {
                TIMES % ("count", ""): "0+600x40",
                TIMES % ("bucket", ',le="0.25"'): "0x40",
                TIMES % ("bucket", ',le="0.5"'): "0+420x40",
                TIMES % ("bucket", ',le="+Inf"'): "0+600x40",
            },
            [fired(20, "latency 1h")],
            id="three in ten are slow",
        ),
        pytest.param(
            {
                TIMES % ("count", ""): "0+600x40",
                TIMES % ("bucket", ',le="0.5"'): "0+598x40",
                TIMES % ("bucket", ',le="+Inf"'): "0+600x40",
            },
            [fired(39)],
            id="one in three hundred is slow",
        ),
        pytest.param(
            {AGE: "5x30 300x12 5x60"},
            [fired(35), fired(41, "freshness 1h"), fired(48)],
            id="the queue stands still",
        ),
        pytest.param({AGE: "75x60"}, [fired(50)], id="the queue waits for the autoscaler"),
        pytest.param({AGE: "300x60"}, [fired(3), fired(12, "freshness 1h")], id="it stood still before anybody looked"),
    ],
)
def test_fast_burns(rules: list[Path], series: dict[str, str], expected: list[Object]) -> None:
    play(rules, series, promql_expr_test=expected)


@pytest.mark.parametrize(
    "series, expected",
    [
        pytest.param(
            # Ends after six hours; by then the half hour is soon clean, and the two hours are not.
            answers("0+1986x180 357480+2000x60", "0+14x180 2520x60"),
            [fired(170), fired(190, "6h"), fired(360, "6h"), fired(420)],
            id="seven times too fast pages when it lasts for hours",
        ),
        pytest.param(
            answers("0+1992x400", "0+8x400"), [fired(400), fired(740, "1d")], id="four times too fast is a ticket"
        ),
        pytest.param(
            answers("0+1997x1200", "0+3x1200"),
            [fired(2100), fired(2240, "3d")],
            id="so is half as fast again, for days",
        ),
        pytest.param(answers("0+1999x1200", "0+1x1200"), [fired(2240)], id="within the budget, for days"),
    ],
)
def test_slow_burns(rules: list[Path], series: dict[str, str], expected: list[Object]) -> None:
    play(rules, series, step="2m", promql_expr_test=expected)


@pytest.mark.parametrize(
    "series, expected",
    [
        pytest.param(
            # 600 a minute; after four hours a fifth of them fails, for twenty minutes.
            answers("0+600x240 144480+480x20 154200+600x60", "0x240 120+120x20 2520x60"),
            [fired(250, "1h"), *(fired(minute) for minute in (268, 275, 290, 300))],
            id="what was told is no news afterwards",
        ),
        pytest.param(
            answers("0+600x240 144480+480x20 154195.8+595.8x60", "0x240 120+120x20 2524.2+4.2x60"),
            [fired(250, "1h"), fired(290), fired(310, "6h")],
            id="until more than that has failed",
        ),
    ],
)
def test_an_outage_is_one_page(rules: list[Path], series: dict[str, str], expected: list[Object]) -> None:
    play(rules, series, promql_expr_test=expected)


def test_an_alert_says_who_acts_and_where_it_is_read_up(rules: list[Path]) -> None:
    labels = {
        "alertname": "SLOBurnRateHigh",
        "namespace": "apps",
        "service": "worker",
        "slo": "freshness",
        "team": "worker",
        "category": "performance",
        "severity": "critical",
    }
    annotations = {
        "runbook_url": "docs/runbooks/SLOBurnRateHigh.md",
        "dashboard_url": "dashboards/slo-overview",
        "runbook": "scale_workload",
    }
    summary = (
        "freshness of worker: 100% of the last 1h failed, over 14.4 times what its error budget allows, and it goes on"
    )
    told = {"exp_labels": {**labels, "window": "1h"}, "exp_annotations": {**annotations, "summary": summary}}
    play(
        rules,
        {AGE: "300x60"},
        alert_rule_test=[{"eval_time": "12m", "alertname": "SLOBurnRateHigh", "exp_alerts": [told]}],
    )


class TestDocument:
    def test_names_labels_and_disables_its_own_alerts(self, rules: list[Path]) -> None:
        series = {'door_asked_total{result="open"}': "0+50x40", 'door_asked_total{result="stuck"}': "0+50x40"}
        labels = {
            "alertname": "DoorStuck",
            "service": "door",
            "slo": "opens",
            "owner": "us",
            "floor": "1",
            "severity": "loud",
            "team": "api",
            "category": "service_health",
        }
        annotations = {
            "summary": "The door is stuck",
            "runbook_url": "docs/runbooks/SLOBurnRateHigh.md",
            "dashboard_url": "dashboards/slo-overview",
            "runbook": "rollback_release",
        }
        alert = {"exp_labels": {**labels, "window": "1h"}, "exp_annotations": annotations}
        own = {"eval_time": "20m", "alertname": "DoorStuck", "exp_alerts": [alert]}
        common = {"eval_time": "20m", "alertname": "SLOBurnRateHigh", "exp_alerts": []}
        play(rules, series, alert_rule_test=[own, common])

    def test_rates_are_counted_as_events(self, rules: list[Path]) -> None:
        """Or else a few failures would do, or no number of them."""
        few = {'door_asked_total{result="open"}': "0x40", 'door_asked_total{result="stuck"}': "0x10 1 2 3x28"}
        play(rules, few, promql_expr_test=[fired(minute, alert="DoorStuck") for minute in (11, 12, 13, 20)])

    def test_a_share_alone_is_enough(self, rules: list[Path]) -> None:
        play(rules, {"door_shut": "1x10 0x30"}, promql_expr_test=[fired(9), fired(20, "shut 1h")])


class TestBudget:
    def test_counts_requests_not_minutes(self, rules: list[Path]) -> None:
        """An hour of 99 in 100 requests is well, and a quiet one in which all fail: a hundredth failed, not half."""
        series = answers("0+990x60 59400x60", "0x60 10+10x60")
        expected = {
            "slo:sli_error:ratio_rate6h": 0.01,
            "slo:sli_error:ratio_rate30d": 0.01,
            "slo:sli_events:increase30d / 60000": 1,
            "slo:sli_errors:increase30d / 600": 1,
            "slo:period_burn_rate:ratio": 10,
            "slo:period_error_budget_remaining:ratio": -9,
            "slo:current_burn_rate:ratio": 1000,
        }
        # promtool wants a number to the last digit; extrapolated counts are near it.
        checks = [
            {
                "eval_time": "124m",
                "expr": f"count by (service, slo) (abs({query} - {value}) < {abs(value) * 0.03:g})",
                "exp_samples": [{"labels": '{service="auth", slo="availability"}', "value": 1}],
            }
            for query, value in expected.items()
        ]
        play(rules, series, promql_expr_test=checks)

    def test_is_not_known_without_requests(self, rules: list[Path]) -> None:
        query = '{__name__=~"slo:(sli_error:|current_burn|period).+"}'
        play(rules, answers("7x60", "7x60"), promql_expr_test=[{"eval_time": "50m", "expr": query, "exp_samples": []}])
