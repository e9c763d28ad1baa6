# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: what numbers mean, how long is waited, what is recorded; and what is made of a server's words."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _conditions, _decisions, _gate
from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._conditions import (
    AFTER,
    BEFORE,
    BUDGET,
    DURING,
    FAIL,
    NO_DATA,
    PASS,
    PRESET,
    STALE,
    TOO_FEW,
    UNKNOWN,
    UNREACHABLE,
    WAIT,
    Condition,
    Reading,
    Subject,
    judge,
)
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Forbidden, Invalid, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._gate import Gate, Options, decide
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import Prometheus

from .fake_cluster import FakeCluster

NAN, INF = math.nan, math.inf
Object = dict[str, Any]
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "auth", "namespace": "apps"}, "spec": {}}


class Ticks:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = Clock(monotonic=lambda: self.seconds, now=lambda: 1_800_000_000 + self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Metrics:
    """A Prometheus in memory: answers by the first key that the query holds; a list is a story, one answer a look."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, float | None]] = []

    def ask(self, query: str, time: float | None = None) -> float | None:
        self.asked.append((query, time))
        found = next((answer for key, answer in self.answers.items() if key in query), None)
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(found, Exception):
            raise found
        return found


def params(**given: Any) -> Object:
    """A module's parameters, as Ansible would fill them in."""
    if given.get("budget") is not None:
        given["budget"] = {
            "objective_percent": None, "window": "30d", "spent_max_percent": 100.0, "query": "spent", "no_data": PASS,
            **given["budget"],
        }  # fmt: skip
    return {
        "service": "auth", "namespace": "apps", "slot": "green", "version": "1.1.0", "baseline": None,
        "baseline_time": None, "when": AFTER, "conditions": None, "window": "1m", "stale_seconds": 0.0,
        **dict.fromkeys(UNKNOWN, WAIT), "duration": 0.0, "interval": 10.0, "failures_allowed": 0, "timeout": 30.0,
        "budget": None, "override_by": None, "override_reason": None, "by": "", "run_id": "", **given,
    }  # fmt: skip


def one(**given: Any) -> list[Object]:
    """A single condition."""
    return [{"name": "errors", "query": "errors", "max": 0.01, **given}]


def run(metrics: Metrics, cluster: FakeCluster | None = None, *, check: bool = False, **given: Any) -> Object:
    """The gate's answer to a single condition on `errors`, if no others are given."""
    wished = params(**{"conditions": one(), **given})
    options = Options.of(wished, user="somebody", run_id="r1", check_mode=check)
    return decide(cluster or FakeCluster(SERVICE), metrics, wished, options, Ticks().clock)


# -- judging -------------------------------------------------------------------------------------------------------

MAX, MIN = {"max": 0.1}, {"min": 3.0}
RATIO, DIFFERENCE = {"ratio_max": 2.0}, {"difference_max": 0.1}
SAMPLES = {"samples_query": "n", "samples_min": 20.0, **MAX}


@pytest.mark.parametrize(
    "bounds, reading, baseline, outcome, words",
    [
        pytest.param(MAX, (0.05,), None, PASS, "errors is 0.05", id="below max"),
        pytest.param(MAX, (0.1,), None, PASS, "", id="at max"),
        pytest.param(MAX, (0.1001,), None, FAIL, "errors is 0.1001, more than max 0.1", id="above max"),
        pytest.param(MAX, (-1.0,), None, PASS, "", id="negative"),
        pytest.param(MAX, (INF,), None, FAIL, "errors is inf, more than max 0.1", id="infinite"),
        pytest.param(MAX, (-INF,), None, PASS, "", id="minus infinite"),
        pytest.param(MIN, (-INF,), None, FAIL, "less than min 3", id="minus infinite below min"),
        pytest.param(MIN, (2.9,), None, FAIL, "errors is 2.9, less than min 3", id="below min"),
        pytest.param(MIN, (3.0,), None, PASS, "", id="at min"),
        pytest.param(MAX, (None,), None, NO_DATA, "errors has no value", id="empty"),
        pytest.param(MAX, (NAN,), None, NO_DATA, "errors has no value", id="NaN"),
        pytest.param(RATIO, (0.2,), (0.1,), PASS, "", id="at ratio"),
        pytest.param(RATIO, (0.3,), (0.1,), FAIL, "more than ratio_max 2 times its baseline 0.1", id="above ratio"),
        pytest.param(RATIO, (0.0,), (0.0,), PASS, "", id="ratio of zero and zero"),
        pytest.param(RATIO, (0.001,), (0.0,), FAIL, "times its baseline 0", id="ratio to zero"),
        pytest.param(RATIO, (-5.0,), (-9.0,), FAIL, "use difference_max", id="ratio to less than zero"),
        pytest.param(RATIO, (INF,), (0.1,), FAIL, "errors is inf", id="infinite against a baseline"),
        pytest.param(RATIO, (0.1,), (INF,), NO_DATA, "the baseline of errors is inf", id="baseline infinite"),
        pytest.param(RATIO, (0.1,), (None,), NO_DATA, "the baseline of errors has no value", id="baseline empty"),
        pytest.param(RATIO, (0.1,), (NAN,), NO_DATA, "the baseline of errors has no value", id="baseline NaN"),
        pytest.param(RATIO, (0.1,), None, NO_DATA, "the baseline of errors has no value", id="no baseline"),
        pytest.param(MAX | RATIO, (0.2,), (None,), FAIL, "more than max", id="max before a missing baseline"),
        pytest.param(DIFFERENCE, (0.2,), (0.1,), PASS, "", id="at difference"),
        pytest.param(DIFFERENCE, (0.3,), (0.1,), FAIL, "difference_max 0.1 above its baseline 0.1", id="difference"),
        pytest.param(DIFFERENCE, (-5.0,), (-9.0,), FAIL, "above its baseline -9", id="negative difference"),
        pytest.param(DIFFERENCE, (-9.0,), (-5.0,), PASS, "", id="better than the baseline"),
        pytest.param(SAMPLES, (0.5, None, 19.0), None, TOO_FEW, "rests on 19 samples, fewer than", id="too few"),
        pytest.param(SAMPLES, (0.05, None, 20.0), None, PASS, "", id="just enough"),
        pytest.param(SAMPLES, (NAN, None, 0.0), None, TOO_FEW, "rests on 0 samples", id="nobody asked"),
        pytest.param(SAMPLES, (None, None, 0.0), None, TOO_FEW, "rests on 0 samples", id="nobody ever asked"),
        pytest.param(SAMPLES, (0.05, None, None), None, NO_DATA, "cannot be counted", id="samples unknown"),
        pytest.param(SAMPLES, (0.05, None, NAN), None, NO_DATA, "cannot be counted", id="samples NaN"),
        pytest.param(SAMPLES, (None, None, None), None, NO_DATA, "has no value", id="nothing at all"),
        pytest.param(SAMPLES, (None, None, 99.0), None, NO_DATA, "has no value", id="samples without a value"),
        pytest.param(
            SAMPLES | RATIO, (0.1, None, 99.0), (0.1, None, 3.0), TOO_FEW, "the baseline of errors rests on 3",
            id="baseline of too few",
        ),
    ],
)  # fmt: skip
def test_what_numbers_mean(
    bounds: Object, reading: tuple[Any, ...], baseline: tuple[Any, ...] | None, outcome: str, words: str
) -> None:
    condition = Condition("errors", "q", stale_seconds=0, **bounds)
    found = judge(condition, Reading(*reading), Reading(*baseline) if baseline else None)
    assert (found.outcome, words in found.reason) == (outcome, True), found.reason


@pytest.mark.parametrize(
    "value, age, outcome",
    [
        (0.0, 60.0, PASS),
        (0.0, -3.0, PASS),
        (0.0, 60.1, STALE),
        (9.0, 60.1, STALE),
        (0.0, None, STALE),
        (0.0, NAN, STALE),
        (0.0, INF, STALE),
        (None, None, NO_DATA),
    ],
)
def test_what_is_old_tells_nothing(value: float | None, age: float | None, outcome: str) -> None:
    assert judge(Condition("errors", "q", max=1), Reading(value, age)).outcome == outcome
    compared = Condition("errors", "q", difference_max=1)
    assert judge(compared, Reading(0.0, 1.0), Reading(value, age)).outcome == outcome


# -- policies and waiting ------------------------------------------------------------------------------------------

SITUATIONS: dict[str, Object] = {
    NO_DATA: {"errors": None},
    STALE: {"errors": 0.0, "timestamp": 99.0},
    TOO_FEW: {"errors": 0.0, "requests": 1.0, "timestamp": 1.0},
    UNREACHABLE: {"errors": Unreachable("Prometheus cannot be reached: connection refused")},
}


@pytest.mark.parametrize("policy", [FAIL, PASS, WAIT])
@pytest.mark.parametrize("outcome", UNKNOWN)
@pytest.mark.parametrize("own", [True, False], ids=["of the condition", "of all"])
def test_each_outcome_has_a_policy(outcome: str, policy: str, own: bool) -> None:
    others: Object = dict.fromkeys(UNKNOWN, PASS if policy == FAIL else FAIL)
    condition = one(samples_query="requests", samples_min=20, **({outcome: policy} if own else {}))
    metrics = Metrics(**SITUATIONS[outcome])
    given: Object = others if own else {**others, outcome: policy}
    answer = run(metrics, conditions=condition, stale_seconds=60.0, **given)
    (decision,) = answer["decisions"]
    assert (decision["outcome"], answer["verdict"]) == (outcome, PASS if policy == PASS else FAIL)
    assert decision["looks"] == (4 if policy == WAIT else 1), "every 10 s for 30 s"
    assert ("after 30 s" in decision["reason"]) == (policy == WAIT)


def test_waiting_ends_with_an_answer() -> None:
    answer = run(Metrics(errors=[None, Unreachable("gone"), NAN, 0.0]))
    assert (answer["verdict"], answer["decisions"][0]["looks"]) == (PASS, 4)


@pytest.mark.parametrize(
    "story, allowed, duration, verdict, looks",
    [
        pytest.param([0.0], 0, 0, PASS, 1, id="one look"),
        pytest.param([0.0], 0, 30, PASS, 4, id="looks for the whole time"),
        pytest.param([0.0, 0.0, 1.0, 0.0], 0, 30, FAIL, 3, id="one bad look"),
        pytest.param([0.0, 1.0, 0.0, 0.0], 1, 30, PASS, 4, id="one bad look is allowed"),
        pytest.param([0.0, 1.0, 1.0, 0.0], 1, 30, FAIL, 3, id="two in a row are not"),
        pytest.param([0.0, 1.0, 0.0, 1.0, 0.0], 1, 30, PASS, 5, id="the last look must pass"),
        pytest.param([0.0, 1.0, None, 1.0, 0.0], 1, 90, FAIL, 4, id="no data between is no pass"),
        pytest.param([None, None, 0.0], 0, 20, PASS, 5, id="the time counts from the first answer"),
        pytest.param([0.0, None], 0, 10, FAIL, 5, id="no data at the end"),
        pytest.param([1.0], 0, 30, FAIL, 1, id="bad at once"),
        pytest.param([None, None, 0.0, None, None, 0.0], 0, 40, PASS, 7, id="each wait has its own time"),
    ],
)
def test_looks(story: list[Any], allowed: int, duration: float, verdict: str, looks: int) -> None:
    answer = run(Metrics(errors=story), duration=duration, failures_allowed=allowed)
    assert (answer["verdict"], answer["decisions"][0]["looks"]) == (verdict, looks)


def test_one_that_fails_does_not_wait_for_the_others() -> None:
    wished = [*one(name="slow", query="slow"), *one()]
    answer = run(Metrics(slow=None, errors=1.0), conditions=wished)
    assert [(found["outcome"], found["looks"]) for found in answer["decisions"]] == [(NO_DATA, 1), (FAIL, 1)]
    assert "errors is 1, more than max 0.01; slow has no value, not waited for" in answer["sentence"]


def test_a_wrong_query_is_an_error_and_not_an_outcome() -> None:
    cluster = FakeCluster(SERVICE)
    with pytest.raises(Invalid, match="2 series"):
        run(Metrics(errors=Invalid("2 series")), cluster, no_data=PASS, unreachable=PASS)
    assert cluster.writes == []


def test_check_mode_looks_once_and_records_nothing() -> None:
    cluster = FakeCluster(SERVICE)
    answer = run(Metrics(errors=None), cluster, check=True, duration=600)
    assert (answer["verdict"], answer["decisions"][0]["looks"], answer["recorded"]) == (PASS, 1, False)
    assert "would be waited for" in answer["sentence"]
    assert "nothing was recorded" in answer["sentence"]
    assert run(Metrics(errors=1.0), cluster, check=True)["verdict"] == FAIL
    assert cluster.writes == []


# -- what is asked -------------------------------------------------------------------------------------------------


def test_placeholders_are_filled_once_and_only_they_are() -> None:
    subject = Subject("auth", "apps", "green", window="5m")
    query = 'sum(x{namespace="{namespace}",pod=~"{service}-{slot}-[a-z]{5}",a="{other}"}[{window}])'
    assert subject.fill(query, "blue") == 'sum(x{namespace="apps",pod=~"auth-blue-[a-z]{5}",a="{other}"}[5m])'


def test_the_baseline_is_asked_the_same_at_its_own_time() -> None:
    condition = one(query='errors{slot="{slot}"}', difference_max=1, samples_query="requests{slot}", samples_min=1)
    metrics = Metrics(errors=0.0, requests=9.0, timestamp=0.0)
    answer = run(metrics, conditions=condition, baseline="blue", baseline_time=1234.5, stale_seconds=60.0)
    assert answer["verdict"] == PASS
    asked = {(query, time) for query, time in metrics.asked if "up{" not in query}
    assert asked == {
        ('errors{slot="green"}', None),
        ("requestsgreen", None),
        ('errors{slot="blue"}', 1234.5),
        ("requestsblue", 1234.5),
    }
    ages = {time: query for query, time in metrics.asked if "up{" in query}
    assert 'slot="green"' in ages[None]
    assert 'slot="blue"' in ages[1234.5]
    assert answer["decisions"][0]["baseline_slot"] == "blue"


def test_the_age_is_that_of_the_series_that_are_named() -> None:
    metrics = Metrics(errors=0.0, timestamp=1.0)
    condition = one(series='jobs{queue="{service}"}')
    run(metrics, conditions=condition, stale_seconds=60.0)
    assert ('time() - max(timestamp(jobs{queue="auth"}))', None) in metrics.asked


def test_each_question_is_asked_once_a_look() -> None:
    metrics = Metrics(http_requests=0.0, http_request_duration=0.0, kube_pod=0.0, timestamp=0.0)
    run(metrics, conditions=None, stale_seconds=60.0, no_data=PASS, too_few=PASS, stale=PASS)
    assert len(metrics.asked) == len(set(metrics.asked)) == 6


@pytest.mark.parametrize(
    "when, baseline, names, compared",
    [
        (AFTER, None, list(PRESET), set()),
        (DURING, "blue", list(PRESET), {"error_ratio", "latency_p99_seconds"}),
        (BEFORE, None, ["restarts"], set()),
    ],
)
def test_conditions_where_none_are_given(when: str, baseline: str | None, names: list[str], compared: set[str]) -> None:
    found = _conditions.conditions(params(when=when, baseline=baseline))
    assert [condition.name for condition in found] == names
    assert {condition.name for condition in found if condition.compares} == compared


@pytest.mark.parametrize(
    "given, words",
    [
        ({"conditions": []}, "nothing to judge by"),
        ({"conditions": one(max=None)}, "condition errors has no bound"),
        ({"conditions": one(max=NAN)}, "max of condition errors must be a finite number"),
        ({"conditions": one(min=1, max=0)}, "its max is below its min"),
        ({"conditions": one(ratio_max=2)}, "say which slot"),
        ({"conditions": one(samples_min=2)}, "both samples_query and samples_min"),
        ({"conditions": one(samples_query="n")}, "both samples_query and samples_min"),
        ({"conditions": one() + one()}, "two conditions are called errors"),
        ({"conditions": one(query=" ")}, "is empty or longer than 4000"),
        ({"conditions": one(query="x" * 4001)}, "is empty or longer than 4000"),
        ({"conditions": one(stale_seconds=NAN)}, "stale_seconds must be"),
        ({"service": 'a"}'}, "service must be a name"),
        ({"namespace": "A"}, "namespace must be a name"),
        ({"window": "1m])"}, "window must be a duration"),
        ({"baseline": "green"}, "its own baseline"),
        ({"baseline_time": 1.0}, "baseline_time needs baseline"),
        ({"duration": -1.0}, "duration must be"),
        ({"timeout": NAN}, "timeout must be"),
        ({"interval": 0.0}, "interval must be a number of at least 0.05"),
        ({"failures_allowed": -1}, "failures_allowed must be"),
        ({"override_by": "ann", "override_reason": " "}, "needs both"),
        ({"override_reason": "because"}, "needs both"),
        ({"budget": {"objective_percent": 100.0}}, "who promises all has no budget"),
        ({"budget": {"objective_percent": NAN}}, "objective_percent must be"),
        ({"budget": {"objective_percent": 99.0, "spent_max_percent": -1.0}}, "spent_max_percent must be"),
        ({"budget": {}}, "Service apps/auth has no annotation slo.opsforge.dev/availability-percent"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_and_asks_nothing(given: Object, words: str) -> None:
    metrics, cluster = Metrics(errors=0.0), FakeCluster(SERVICE)
    with pytest.raises(Invalid) as caught:
        run(metrics, cluster, **given)
    assert words in str(caught.value)
    assert (metrics.asked, cluster.writes) == ([], [])


# -- the budget ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "share, objective, most, spent, verdict",
    [
        (0.0, 99.9, 100.0, 0.0, PASS),
        (0.0005, 99.9, 100.0, 50.0, PASS),
        (0.0011, 99.9, 100.0, 110.0, FAIL),
        (0.0005, 99.9, 40.0, 50.0, FAIL),
        (0.01, 99.0, 100.0, 100.0, PASS),
        (0.25, 50.0, 100.0, 50.0, PASS),
        (1.0, 99.95, 100.0, 200_000.0, FAIL),
        (1.0, 0.0, 100.0, 100.0, PASS),
    ],
)
def test_what_is_left_of_a_budget(share: float, objective: float, most: float, spent: float, verdict: str) -> None:
    budget = {"objective_percent": objective, "spent_max_percent": most}
    answer = run(Metrics(spent=share), conditions=[], budget=budget)
    (decision,) = answer["decisions"]
    assert decision["condition"] == BUDGET
    assert decision["value"] == pytest.approx(spent)
    assert answer["verdict"] == verdict


def test_the_objective_is_read_from_the_service() -> None:
    promised = {**SERVICE, "metadata": {**SERVICE["metadata"], "annotations": {_conditions.OBJECTIVE: "90.0"}}}  # type: ignore[dict-item]
    answer = run(Metrics(spent=0.05), FakeCluster(promised), conditions=[], budget={})
    assert answer["decisions"][0]["value"] == pytest.approx(50)
    promised["metadata"]["annotations"][_conditions.OBJECTIVE] = "most"  # type: ignore[index]
    with pytest.raises(Invalid, match="is not a number: 'most'"):
        run(Metrics(spent=0.05), FakeCluster(promised), conditions=[], budget={})


def test_a_budget_is_looked_at_once() -> None:
    budget = {"objective_percent": 99.0}
    answer = run(Metrics(spent=0.0, errors=0.0), budget=budget, duration=30)
    assert [found["looks"] for found in answer["decisions"]] == [1, 4]
    answer = run(Metrics(spent=1.0, errors=0.0), budget=budget, failures_allowed=3)
    assert [found["looks"] for found in answer["decisions"]] == [1]


def test_a_spent_budget_is_not_asked_on() -> None:
    metrics = Metrics(spent=1.0, errors=0.0)
    answer = run(metrics, budget={"objective_percent": 99.0})
    assert [found["condition"] for found in answer["decisions"]] == [BUDGET]
    assert "say override_by and override_reason" in answer["sentence"]


OVERRIDE: Object = {"override_by": "ann", "override_reason": "it repairs the outage"}


def test_an_override_turns_a_spent_budget_into_a_recorded_pass() -> None:
    cluster = FakeCluster(SERVICE)
    answer = run(Metrics(spent=1.0, errors=0.0), cluster, budget={"objective_percent": 99.0}, **OVERRIDE)
    assert answer["verdict"] == PASS
    assert "overridden by ann: it repairs the outage" in answer["sentence"]
    kept = _decisions.read(cluster.get("v1", "ConfigMap", "auth-decisions", "apps"))
    assert [(found.condition, found.outcome, found.verdict, found.override_by) for found in kept] == [
        (BUDGET, FAIL, PASS, "ann"),
        ("errors", PASS, PASS, ""),
    ]
    assert kept[0].override_reason == "it repairs the outage"


@pytest.mark.parametrize(
    "metrics",
    [
        Metrics(spent=1.0, errors=1.0),
        Metrics(spent=Unreachable("gone"), errors=0.0),
        Metrics(spent=0.0, errors=1.0),
        Metrics(spent=0.0, errors=None),
    ],
    ids=["a condition fails, too", "the budget is not known", "a condition fails", "a condition is not known"],
)
def test_an_override_turns_nothing_else(metrics: Metrics) -> None:
    assert run(metrics, budget={"objective_percent": 99.0}, **OVERRIDE)["verdict"] == FAIL


def test_an_override_that_was_not_needed_is_not_recorded() -> None:
    answer = run(Metrics(spent=0.0, errors=0.0), budget={"objective_percent": 99.0}, **OVERRIDE)
    assert [found["override_by"] for found in answer["decisions"]] == ["", ""]


@pytest.mark.parametrize("policy, verdict", [(PASS, PASS), (FAIL, FAIL), (WAIT, FAIL)])
def test_a_service_that_nobody_used(policy: str, verdict: str) -> None:
    answer = run(Metrics(spent=NAN), conditions=[], budget={"objective_percent": 99.0, "no_data": policy})
    assert (answer["decisions"][0]["outcome"], answer["verdict"]) == (NO_DATA, verdict)


# -- recording -----------------------------------------------------------------------------------------------------


def test_what_is_recorded() -> None:
    cluster = FakeCluster(SERVICE)
    answer = run(Metrics(errors=INF), cluster, by="ann", run_id="42")
    (kept,) = _decisions.read(cluster.get("v1", "ConfigMap", "auth-decisions", "apps"))
    assert (kept.number, kept.time, kept.when, kept.slot, kept.version) == (
        1, "2027-01-15T08:00:00Z", AFTER, "green", "1.1.0",
    )  # fmt: skip
    assert (kept.query, kept.value, kept.bounds, kept.outcome, kept.verdict) == (
        "errors", "+Inf", {"max": 0.01}, FAIL, FAIL,
    )  # fmt: skip
    assert (kept.by, kept.run_id, answer["recorded"], answer["changed"]) == ("ann", "42", True, True)
    json.dumps(answer, allow_nan=False)


def test_a_pass_that_cannot_be_recorded_is_an_error() -> None:
    cluster = FakeCluster(SERVICE)
    cluster.refuse["ConfigMap/auth-decisions"] = Forbidden("you may not")
    with pytest.raises(Forbidden, match="passes the gate .* could not be recorded: you may not") as caught:
        run(Metrics(errors=0.0), cluster)
    assert caught.value.facts["verdict"] == PASS


def test_a_refusal_that_cannot_be_recorded_is_still_that_refusal() -> None:
    cluster = FakeCluster(SERVICE)
    cluster.refuse["ConfigMap/auth-decisions"] = Forbidden("you may not")
    answer = run(Metrics(errors=1.0), cluster)
    assert (answer["verdict"], answer["recorded"]) == (FAIL, False)
    assert "errors is 1, more than max 0.01" in answer["sentence"]
    assert "could not be recorded: you may not" in answer["sentence"]


@pytest.mark.parametrize(
    "when, words",
    [
        (BEFORE, "repair that version"),
        (DURING, "canary_shift and weight 0"),
        (AFTER, "ansible-playbook playbooks/rollback.yml -e service=auth"),
    ],
)
def test_a_refusal_says_what_to_do(when: str, words: str) -> None:
    assert words in run(Metrics(errors=1.0), when=when)["sentence"]


# -- the server's words --------------------------------------------------------------------------------------------


def prometheus(status: int, body: Any) -> Prometheus:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Prometheus("Prometheus http://it", lambda path: Answer(status, None, raw))  # type: ignore[arg-type]


def vector(*values: Any) -> Object:
    result = [{"metric": {}, "value": [1.0, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.mark.parametrize(
    "body, value",
    [
        (vector("0.5"), 0.5),
        (vector(), None),
        (vector("+Inf"), INF),
        (vector("-Inf"), -INF),
        ({"status": "success", "data": {"resultType": "scalar", "result": [1.0, "3"]}}, 3.0),
    ],
)
def test_numbers_that_are_read(body: Any, value: float | None) -> None:
    assert prometheus(200, body).ask("q") == value


def test_nan_is_read_as_such() -> None:
    assert math.isnan(prometheus(200, vector("NaN")).ask("q") or 0)


@pytest.mark.parametrize(
    "status, body, error, words",
    [
        (200, vector("1", "2"), Invalid, "answers with 2 series, and one is needed"),
        (200, {"status": "success", "data": {"resultType": "matrix", "result": []}}, Invalid, "answers with a matrix"),
        (
            200,
            {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "histogram": []}]}},
            Invalid,
            "answers with a histogram",
        ),
        (400, {"status": "error", "errorType": "bad_data", "error": "parse error"}, Invalid, "parse error"),
        (422, {"status": "error", "errorType": "execution", "error": "many-to-many"}, Invalid, "many-to-many"),
        (503, {"status": "error", "errorType": "timeout", "error": "too slow"}, Unreachable, "HTTP 503: too slow"),
        (503, {"status": "Failure", "message": "no endpoints"}, Unreachable, "HTTP 503: no endpoints"),
        (400, {"status": "Failure", "message": "no"}, Unreachable, "HTTP 400: no"),
        (200, {"status": "error", "error": "strange"}, Unreachable, "strange"),
        (302, b"", Unreachable, "HTTP 302"),
        (401, b"<html>", Unreachable, "HTTP 401"),
        (200, b"<html>hello</html>", Unreachable, "does not answer as Prometheus"),
        (200, b"", Unreachable, "does not answer as Prometheus"),
        (200, b"\xff\xfe", Unreachable, "does not answer as Prometheus"),
        (200, b"[" * 100_000, Unreachable, "does not answer as Prometheus"),
        (200, [], Unreachable, "does not answer as Prometheus"),
        (200, {"status": "success", "data": None}, Unreachable, "does not answer as Prometheus"),
        (200, {"status": "success", "data": {"resultType": "vector", "result": {}}}, Unreachable, "does not answer"),
        (200, vector("many"), Unreachable, "does not answer as Prometheus"),
        (200, vector(None), Unreachable, "does not answer as Prometheus"),
        (503, {"message": "a\nb\x1b[31m" + "x" * 9999}, Unreachable, "a b [31m"),
        (503, {"message": "password: hunter22"}, Unreachable, "password: <hidden>"),
    ],
)
def test_other_words_are_one_short_sentence(status: int, body: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        prometheus(status, body).ask("q")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_query_is_encoded_and_may_be_about_another_time() -> None:
    paths: list[str] = []

    def fetch(path: str) -> Answer:
        paths.append(path)
        return Answer(200, None, json.dumps(vector("1")).encode())  # type: ignore[arg-type]

    Prometheus("it", fetch, 2.5).ask('x{a="b&c"}', 12.5)
    assert paths == ["/api/v1/query?query=x%7Ba%3D%22b%26c%22%7D&timeout=2.5&time=12.500"]


ADDRESS: Callable[..., Object] = lambda **given: {  # noqa: E731
    "prometheus_url": None, "prometheus_token": None, "prometheus_ca": None, "prometheus_timeout": 1.0,
    "prometheus_namespace": "m", "prometheus_service": "p", "prometheus_port": 1, **given,
}  # fmt: skip


@pytest.mark.parametrize(
    "given, words",
    [
        *(
            ({"prometheus_url": url}, "prometheus_url must be an address")
            for url in ("ftp://a", "http://", "a:9090", "http://a:x", "http://[", "http://a b", "file:///etc/passwd")
        ),
        ({"prometheus_url": "http://me:secret@a"}, "must have no user"),
        ({"prometheus_url": "http://a/?x=1"}, "must have no user"),
        ({"prometheus_url": "http://a", "prometheus_token": "a\r\nHost: b"}, "characters that a token cannot have"),
        ({"prometheus_url": "https://a", "prometheus_ca": "/nowhere"}, "is not a readable certificate"),
        ({"prometheus_token": "a"}, "need prometheus_url"),
        ({"prometheus_timeout": 0.0}, "prometheus_timeout must be"),
    ],
)
def test_an_address_that_cannot_be_meant(given: Object, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        Prometheus.of(ADDRESS(**given), FakeCluster())  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_way_back_imports_no_gate() -> None:
    folder = Path(_gate.__file__).parent
    gate = {"_gate", "_conditions", "_prometheus", "_decisions"}
    todo = [folder.parent / f"modules/{name}.py" for name in ("blue_green_switch", "blue_green_info")]
    seen: set[str] = set()
    while todo:
        for node in ast.walk(ast.parse(todo.pop().read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and "opsforge" in (node.module or ""):
                last = str(node.module).rpartition(".")[2]
                names = {alias.name for alias in node.names} if last == "module_utils" else {last}
                todo += [folder / f"{name}.py" for name in names - seen]
                seen |= names
    assert "_switch" in seen
    assert seen & gate == set()


def test_a_gate_of_no_conditions_passes_nothing_on() -> None:
    assert Gate(Metrics(), Subject("auth", "apps", "green")).run([]) == []
