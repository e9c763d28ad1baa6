# SPDX-License-Identifier: GPL-3.0-or-later
"""What a slot is judged by: conditions on what Prometheus knows of it, and what their numbers mean.

`judge()` is the table of outcomes, and is pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ansible_collections.opsforge.platform.plugins.module_utils._decisions import shown
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, Unreachable

# Outcomes. A verdict is one of the first two; WAIT is what a policy may say in between.
PASS, FAIL, NO_DATA, STALE, TOO_FEW, UNREACHABLE = "pass", "fail", "no_data", "stale", "too_few", "unreachable"
WAIT = "wait"
POLICIES = (FAIL, PASS, WAIT)
UNKNOWN = (NO_DATA, STALE, TOO_FEW, UNREACHABLE)
BEFORE, DURING, AFTER = "before", "during", "after"
OBJECTIVE = "slo.opsforge.dev/availability-percent"
BUDGET = "error_budget_spent_percent"
BOUNDS = ("max", "min", "ratio_max", "difference_max")
_QUERY_MAX = 4000  # characters; the record must hold 200 of them

_PLACEHOLDER = re.compile(r"\{(service|namespace|slot|window)\}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_WINDOW = re.compile(r"([0-9]+(ms|[smhdwy]))+")

_SERVICE = 'namespace="{namespace}",service="{service}"'
_SLOT = f'{_SERVICE},slot="{{slot}}"'
# A scrape that fails leaves an `up` as fresh as any other, so only those that worked count.
_AGE_OF_SCRAPE = f"time() - max(timestamp(up{{{_SLOT}}}) and up{{{_SLOT}}} == 1)"
_RESTARTS = 'kube_pod_container_status_restarts_total{namespace="{namespace}",pod=~"{service}-{slot}-[^-]+-[^-]+"}'


def _failed_share(labels: str, function: str) -> str:
    """The share of requests that were answered with an error of the service's; a service without errors has no 5xx."""
    failed = f'sum({function}(http_requests_total{{{labels},status=~"5.."}}[{{window}}]))'
    return f"({failed} or vector(0)) / sum({function}(http_requests_total{{{labels}}}[{{window}}]))"


# A slot that is scraped and was asked for nothing has no series of requests: that is 0 samples, and not no data.
_REQUESTS = f"sum(increase(http_requests_total{{{_SLOT}}}[{{window}}])) or 0 * count(up{{{_SLOT}}} == 1)"
# What a service of this platform is judged by when nothing else is asked for.
PRESET: dict[str, dict[str, Any]] = {
    "error_ratio": {
        "query": _failed_share(_SLOT, "rate"),
        "max": 0.01,
        "difference_max": 0.005,
        "samples_query": _REQUESTS,
        "samples_min": 20,
    },
    "latency_p99_seconds": {
        "query": (
            f"histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{{{_SLOT}}}[{{window}}])))"
        ),
        "max": 1.0,
        "ratio_max": 2.0,
        "samples_query": _REQUESTS,
        "samples_min": 20,
    },
    "restarts": {"query": f"sum(increase({_RESTARTS}[{{window}}]))", "max": 0.0, "series": _RESTARTS},
}


class Question(NamedTuple):
    """A query as Prometheus gets it, and the moment it is about (now, if None)."""

    query: str
    time: float | None = None


Answers = Mapping[Question, float | None | Unreachable]


@dataclass(frozen=True)
class Subject:
    """What is judged, and what it is compared with."""

    service: str
    namespace: str
    slot: str
    baseline: str | None = None
    # Seconds since the epoch: when the baseline still had the traffic that it is compared by.
    baseline_time: float | None = None
    window: str = "1m"

    def fill(self, query: str, slot: str) -> str:
        """The query with its placeholders replaced."""
        values = {"service": self.service, "namespace": self.namespace, "slot": slot, "window": self.window}
        return _PLACEHOLDER.sub(lambda found: values[found[1]], query)


@dataclass(frozen=True)
class Condition:
    """A query, the bounds of its number, and what is to be done about numbers that tell nothing."""

    name: str
    query: str
    max: float | None = None
    min: float | None = None
    ratio_max: float | None = None
    difference_max: float | None = None
    samples_query: str | None = None
    samples_min: float | None = None
    # Selector of the series that must be fresh; without one, the last scrape of the slot's pods.
    series: str | None = None
    # 0 does not ask for the age.
    stale_seconds: float = 60
    policies: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(UNKNOWN, WAIT))
    # What the answer is multiplied by to be the value.
    scale: float = 1.0
    # In place of the subject's.
    window: str | None = None

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that were given, by name."""
        return {name: bound for name in BOUNDS if (bound := getattr(self, name)) is not None}

    @property
    def compares(self) -> bool:
        """Whether there must be a baseline."""
        return self.ratio_max is not None or self.difference_max is not None

    def questions(self, subject: Subject, slot: str, time: float | None = None) -> dict[str, Question]:
        """What to ask about a slot, by field of Reading."""
        if self.window:
            subject = replace(subject, window=self.window)
        asked = {"value": self.query}
        if self.stale_seconds:
            asked["age"] = f"time() - max(timestamp({self.series}))" if self.series else _AGE_OF_SCRAPE
        if self.samples_query:
            asked["samples"] = self.samples_query
        return {key: Question(subject.fill(query, slot), time) for key, query in asked.items()}


@dataclass(frozen=True)
class Reading:
    """The numbers of one slot; None where there is none. The age is in seconds."""

    value: float | None = None
    age: float | None = None
    samples: float | None = None


@dataclass(frozen=True)
class Finding:
    """What one look at one condition found."""

    outcome: str
    reason: str
    reading: Reading = Reading()
    baseline: Reading | None = None


def judge(condition: Condition, reading: Reading, baseline: Reading | None = None) -> Finding:
    """Name what the numbers say of a condition. A number that tells nothing is never a pass and never a fail."""
    outcome, reason = _unknown(condition, reading, condition.name)
    value = reading.value or 0.0
    if not outcome and (reason := _beyond(condition, value)):
        outcome = FAIL  # whatever the baseline is
    if not outcome and condition.compares:
        baseline = baseline or Reading()
        outcome, reason = _unknown(condition, baseline, f"the baseline of {condition.name}")
        if not outcome and math.isinf(baseline.value or 0.0):
            outcome, reason = NO_DATA, f"the baseline of {condition.name} is {shown(baseline.value)}"
        if not outcome and (reason := _worse(condition, value, baseline.value or 0.0)):
            outcome = FAIL
    return Finding(outcome or PASS, reason or f"{condition.name} is {shown(value)}", reading, baseline)


def _unknown(condition: Condition, reading: Reading, title: str) -> tuple[str, str]:
    """Why these numbers tell nothing: outcome and reason, both empty if they tell something."""
    value, samples = (None if number is None or math.isnan(number) else number for number in (
        reading.value, reading.samples
    ))  # fmt: skip
    if value is None and samples is None:
        return NO_DATA, f"{title} has no value"
    if condition.stale_seconds:
        if reading.age is None or math.isnan(reading.age):
            return STALE, f"{title} has no sample that is recent"
        if reading.age > condition.stale_seconds:
            age = f"{reading.age:.0f} s old, more than stale_seconds {condition.stale_seconds:g}"
            return STALE, f"the newest sample of {title} is {age}"
    if condition.samples_min is not None:
        if samples is None:
            return NO_DATA, f"the samples of {title} cannot be counted"
        if samples < condition.samples_min:
            least = f"fewer than samples_min {condition.samples_min:g}"
            return TOO_FEW, f"{title} rests on {shown(samples)} samples, {least}"
    return ("", "") if value is not None else (NO_DATA, f"{title} has no value")


def _beyond(condition: Condition, value: float) -> str:
    """The bound of its own that the value does not keep, as a sentence; empty if it keeps both."""
    if condition.max is not None and value > condition.max:
        return f"{condition.name} is {shown(value)}, more than max {condition.max:g}"
    if condition.min is not None and value < condition.min:
        return f"{condition.name} is {shown(value)}, less than min {condition.min:g}"
    return ""


def _worse(condition: Condition, value: float, baseline: float) -> str:
    """The bound by the baseline that the value does not keep, as a sentence; empty if it keeps both."""
    head = f"{condition.name} is {shown(value)}"
    # A product, so that a baseline of 0 allows 0.
    if condition.ratio_max is not None:
        if baseline < 0:
            return f"{head} and its baseline {shown(baseline)}, of which ratio_max means nothing: use difference_max"
        if value > baseline * condition.ratio_max:
            return f"{head}, more than ratio_max {condition.ratio_max:g} times its baseline {shown(baseline)}"
    if condition.difference_max is not None and value > baseline + condition.difference_max:
        return f"{head}, more than difference_max {condition.difference_max:g} above its baseline {shown(baseline)}"
    return ""


def verdict(condition: Condition, outcome: str) -> str:
    """What an outcome means for a condition: pass, fail or wait."""
    return condition.policies[outcome] if outcome in UNKNOWN else outcome


def worst(verdicts: Iterable[str]) -> str:
    """The verdict on all of them: one that fails is no reason to wait for the others."""
    found = set(verdicts)
    return next((one for one in (FAIL, WAIT) if one in found), PASS)


# -- from a module's parameters ------------------------------------------------------------------------------------


def subject(params: Mapping[str, Any]) -> Subject:
    """Read what is judged. Raises Invalid."""
    for key in ("service", "namespace"):
        if not _NAME.fullmatch(params[key]):
            raise Invalid(f"{key} must be a name of lower-case letters, digits and dashes, not {params[key]!r}")
    found = Subject(
        params["service"],
        params["namespace"],
        params["slot"],
        params["baseline"],
        params["baseline_time"],
        _window(params["window"]),
    )
    if found.baseline_time is not None and (not found.baseline or not 0 < found.baseline_time < math.inf):
        raise Invalid("baseline_time needs baseline, and is in seconds since 1970")
    if found.baseline == found.slot and found.baseline_time is None:
        raise Invalid(f"slot {found.slot} cannot be its own baseline, unless baseline_time says when")
    return found


def conditions(params: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Read the conditions, those of PRESET if none are given. Raises Invalid for what can't be meant."""
    given = params["conditions"]
    if given is None:
        # Nobody asks an idle slot for anything, so only its restarts tell something.
        names = ["restarts"] if params["when"] == BEFORE else list(PRESET)
        given = [{"name": name, **PRESET[name]} for name in names]
        if not params["baseline"]:
            given = [{**one, "ratio_max": None, "difference_max": None} for one in given]
    elif not given and not params["budget"]:
        raise Invalid("there is nothing to judge by: give conditions or a budget")
    found = tuple(_condition(one, params) for one in given)
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise Invalid(f"two conditions are called {name}")
    return found


def budget(params: Mapping[str, Any], objective_percent: float) -> Condition:
    """The condition that a service's error budget is not spent. Raises Invalid.

    The objective is the share of requests that must go well, the budget is the rest, and the value is how much of that
    the requests that failed within the window have used, in percent.
    """
    wanted = params["budget"]
    if not 0 <= objective_percent < 100:
        raise Invalid(
            f"objective_percent must be at least 0 and less than 100, not {objective_percent:g}:"
            " who promises all has no budget"
        )
    if not 0 <= wanted["spent_max_percent"] < math.inf:
        raise Invalid(f"spent_max_percent must be a number of at least 0, not {wanted['spent_max_percent']:g}")
    query = wanted["query"] or _failed_share(_SERVICE, "increase")
    _check_query(BUDGET, query)
    return Condition(
        BUDGET,
        query,
        max=wanted["spent_max_percent"],
        stale_seconds=0,
        policies={**_policies(params), NO_DATA: wanted["no_data"]},
        scale=10_000 / (100 - objective_percent),
        window=_window(wanted["window"]),
    )


def objective(service: Mapping[str, Any] | None, params: Mapping[str, Any]) -> float:
    """The objective that was given, else the one that the Service object promises, in percent. Raises Invalid."""
    given: float | None = params["budget"]["objective_percent"]
    if given is not None:
        return given
    promised = ((service or {}).get("metadata", {}).get("annotations") or {}).get(OBJECTIVE)
    where = f"Service {params['namespace']}/{params['service']}"
    if promised is None:
        raise Invalid(f"{where} has no annotation {OBJECTIVE} to have a budget by: set it or objective_percent")
    try:
        return float(promised)
    except ValueError as error:
        raise Invalid(f"annotation {OBJECTIVE} of {where} is not a number: {promised[:50]!r}") from error


def _condition(given: Mapping[str, Any], params: Mapping[str, Any]) -> Condition:
    name = given["name"]
    numbers: dict[str, Any] = {key: given.get(key) for key in (*BOUNDS, "samples_min")}
    bounds = [key for key in BOUNDS if numbers[key] is not None]
    for key in bounds:
        if not math.isfinite(numbers[key]):
            raise Invalid(f"{key} of condition {name} must be a finite number")
    if not bounds:
        raise Invalid(f"condition {name} has no bound: give it one of {', '.join(BOUNDS)}")
    if numbers["max"] is not None and numbers["min"] is not None and numbers["max"] < numbers["min"]:
        raise Invalid(f"condition {name} can't be met: its max is below its min")
    if {"ratio_max", "difference_max"} & set(bounds) and not params["baseline"]:
        raise Invalid(f"condition {name} compares with a baseline: say which slot that is")
    if (given.get("samples_query") is None) != (numbers["samples_min"] is None):
        raise Invalid(f"condition {name} needs both samples_query and samples_min, or none of them")
    for query in (given["query"], given.get("samples_query"), given.get("series")):
        if query is not None:
            _check_query(name, query)
    stale = given.get("stale_seconds")
    stale = params["stale_seconds"] if stale is None else stale
    if not 0 <= stale < math.inf:
        raise Invalid(f"stale_seconds must be a number of at least 0, not {stale:g}")
    own = {key: given[key] for key in UNKNOWN if given.get(key)}
    return Condition(
        name,
        given["query"],
        **numbers,
        samples_query=given.get("samples_query"),
        series=given.get("series"),
        stale_seconds=stale,
        policies={**_policies(params), **own},
    )


def _policies(params: Mapping[str, Any]) -> dict[str, str]:
    return {outcome: params[outcome] for outcome in UNKNOWN}


def _check_query(name: str, query: str) -> None:
    if not 0 < len(query.strip()) <= _QUERY_MAX:
        raise Invalid(f"a query of condition {name} is empty or longer than {_QUERY_MAX} characters")


def _window(text: str) -> str:
    if not _WINDOW.fullmatch(text):
        raise Invalid(f"window must be a duration such as 1m or 30d, not {text!r}")
    return text
