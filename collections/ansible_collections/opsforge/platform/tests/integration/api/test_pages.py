# SPDX-License-Identifier: GPL-3.0-or-later
"""One incident is one page, while it lasts and when it is over: all rules together, played by promtool.

Pages that only follow from another one are none by their rules, so that they cannot be told when that one ends first.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from ansible_collections.opsforge.platform.tests.unit.monitoring.rendering import render
from ansible_collections.opsforge.platform.tests.unit.roles import ROLES

from .prometheus import play

STEP = 15  # seconds
# A promise is known for three hours before it is judged by six.
BEFORE, AFTER = 190 * 4, 35 * 4
EACH = 150  # requests in a step

Series = dict[str, str]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The rule files that know each other."""
    path = tmp_path_factory.mktemp("pages") / "rules-slo.yml"
    path.write_text(render()["ConfigMap", "prometheus"]["data"]["rules-slo.yml"], encoding="utf-8")
    shipped = ROLES / "monitoring/files/rules"
    names = ("services", "alerts_service_health", "alerts_performance")
    return [*(shipped / f"{name}.yml" for name in names), path]


def pages(rules: list[Path], minutes: float, series: Series, *expected: str) -> None:
    """See that these pages and no others came in an incident and in the half hour after it."""
    length = AFTER * STEP + round(minutes * 60)
    told = f'last_over_time(ALERTS{{alertstate="firing", severity="critical"}}[{length}s])'
    found = [_labels(page) for page in expected]
    check = {
        "expr": f"count by (alertname, slo, window) ({told})",
        "eval_time": f"{BEFORE * STEP + length}s",
        "exp_samples": [{"labels": labels, "value": 1} for labels in found],
    }
    play(rules, series, step=f"{STEP}s", promql_expr_test=[check])


def _labels(page: str) -> str:
    """`Name` or `Name slo window` as promtool writes labels."""
    names = ("alertname", "slo", "window")
    return "{" + ", ".join(f'{name}="{word}"' for name, word in zip(names, page.split(), strict=False)) + "}"


def counted(minutes: float, within: float, before: float = 0, *, idle: float = 0) -> str:
    """A counter: so many in each step of an incident, so many before and after it, and none in the first minutes."""
    unused, steps = round(idle * 60 / STEP), round(minutes * 60 / STEP)
    grown = [0.0] * unused + [before] * (BEFORE - unused) + [within] * steps + [before] * AFTER
    return " ".join(f"{total:g}" for total in accumulate(grown))


def gauge(minutes: float, before: float, within: float, after: float) -> str:
    return f"{before:g}x{BEFORE - 1} {within:g}x{round(minutes * 60 / STEP) - 1} {after:g}x{AFTER - 1}"


def service(minutes: float, share: float, *, slow: bool = False, idle: float = 0) -> Series:
    """A service that fails this share of its requests; what fails may be slow as well."""
    labels = 'namespace="apps", service="auth", slot="blue"'
    every = counted(minutes, EACH, EACH, idle=idle)
    good = counted(minutes, EACH * (1 - share), EACH, idle=idle)
    return {
        f'http_requests_total{{{labels}, status="200"}}': good,
        f'http_requests_total{{{labels}, status="500"}}': counted(minutes, EACH * share),
        f"http_request_duration_seconds_count{{{labels}}}": every,
        f'http_request_duration_seconds_bucket{{{labels}, le="0.5"}}': good if slow else every,
        f'http_request_duration_seconds_bucket{{{labels}, le="+Inf"}}': every,
    }


def entrance(minutes: float, failed: float) -> Series:
    """The entrance, which answers so many requests of a step itself, with an error."""
    labels = 'namespace="gateway", pod="a", envoy_http_conn_manager_prefix="http-80"'
    name = f"envoy_http_downstream_rq_xx{{{labels}, envoy_response_code_class="
    return {
        f'{name}"2"}}': counted(minutes, 3 * EACH - failed, 3 * EACH),
        f'{name}"5"}}': counted(minutes, failed),
    }


def slot(minutes: float, name: str) -> Series:
    """A service whose pods are all gone."""
    traffic = f'namespace="apps", service="{name}", annotation_opsforge_dev_traffic_slot="blue"'
    pods = f'kube_deployment_status_replicas_available{{namespace="apps", deployment="{name}-blue"}}'
    return {
        f"kube_service_annotations{{{traffic}}}": gauge(minutes, 1, 1, 1),
        pods: gauge(minutes, 1, 0, 1),
    }


def queue(minutes: float, workers: int) -> Series:
    """Jobs that wait since the incident began."""
    labels = '{namespace="apps", service="jobs", pod="a"}'
    waiting = " ".join(str(number * STEP) for number in range(round(minutes * 60 / STEP)))
    return {
        f"queue_oldest_age_seconds{labels}": f"0x{BEFORE - 1} {waiting} 0x{AFTER - 1}",
        f"queue_workers{labels}": gauge(minutes, 1, workers, 1),
        f"queue_depth{labels}": gauge(minutes, 0, 9, 0),
    }


@pytest.mark.parametrize("minutes, share", [(1, 1), (3, 1), (20, 1), (20, 0.06)])
def test_a_service_that_fails(rules: list[Path], minutes: float, share: float) -> None:
    pages(rules, minutes, service(minutes, share), "ServiceErrorRateHigh")


def test_a_service_that_is_used_since_lately(rules: list[Path]) -> None:
    """Three minutes are too little of an hour's requests for its page, and enough for the one of six."""
    series = service(3, 0.1, idle=BEFORE * STEP / 60 - 30)
    pages(rules, 3, series, "ServiceErrorRateHigh")


def test_a_service_that_fails_slowly(rules: list[Path]) -> None:
    pages(rules, 12, service(12, 1, slow=True), "ServiceErrorRateHigh")


def test_a_service_that_is_slow(rules: list[Path]) -> None:
    series = {name: values for name, values in service(20, 1, slow=True).items() if "duration" in name}
    pages(rules, 20, series, "SLOBurnRateHigh latency 1h")


def test_a_service_without_a_pod(rules: list[Path]) -> None:
    pages(rules, 10, slot(10, "auth") | entrance(10, EACH), "ServiceDown")


def test_an_entrance_that_fails_beside_a_worker_that_is_down(rules: list[Path]) -> None:
    series = slot(10, "worker") | entrance(10, EACH)
    pages(rules, 10, series, "ServiceDown", "GatewayErrorRateHigh")


@pytest.mark.parametrize("minutes", [8, 15])
def test_a_queue_without_workers(rules: list[Path], minutes: float) -> None:
    pages(rules, minutes, queue(minutes, 0), "QueueWithoutWorkers")


def test_a_queue_whose_worker_is_down(rules: list[Path]) -> None:
    pages(rules, 15, queue(15, 0) | slot(15, "worker"), "ServiceDown")


def test_a_queue_that_nobody_works_at(rules: list[Path]) -> None:
    pages(rules, 15, queue(15, 2), "QueueAgeHigh")
