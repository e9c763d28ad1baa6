# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a service's slot by what Prometheus knows of it: ask, name what was found, wait where that is wanted, record.

`judge()` is the table of outcomes, and is pure. A way back needs no gate: nothing that rolls back imports this.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from ansible_collections.opsforge.platform.plugins.module_utils import _decisions
from ansible_collections.opsforge.platform.plugins.module_utils._decisions import Decision, Number, shown
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, PlatformError, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._parallel import each
from ansible_collections.opsforge.platform.plugins.module_utils._releases import Writer
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Clock

MANAGER = "opsforge-gate"
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


# -- asking, waiting, recording ------------------------------------------------------------------------------------


class Asked(Protocol):
    """The part of a Prometheus that a gate needs."""

    def ask(self, query: str, time: float | None = None) -> float | None: ...


@dataclass(frozen=True)
class Options:
    """How it is looked at. Times are in seconds."""

    duration: float = 0
    interval: float = 10
    timeout: float = 120
    failures_allowed: int = 0
    # As check mode: look once, wait for nothing, record nothing.
    only_look: bool = False
    when: str = AFTER
    version: str = ""
    by: str = ""
    run_id: str = ""
    override_by: str = ""
    override_reason: str = ""

    @classmethod
    def of(cls, params: Mapping[str, Any], *, user: str, run_id: str, check_mode: bool) -> Options:
        """Read the options from the module's parameters; the record names `user` and `run_id` if they name none."""
        for key, least in {"duration": 0.0, "interval": 0.05, "timeout": 0.0, "failures_allowed": 0.0}.items():
            if not least <= params[key] < math.inf:
                raise Invalid(f"{key} must be a number of at least {least:g}, not {params[key]:g}")
        override = {key: (params[key] or "").strip() for key in ("override_by", "override_reason")}
        if len(set(map(bool, override.values()))) > 1:
            raise Invalid("an override needs both a name in override_by and words in override_reason")
        return cls(
            duration=params["duration"],
            interval=params["interval"],
            timeout=params["timeout"],
            failures_allowed=params["failures_allowed"],
            only_look=check_mode,
            when=params["when"],
            version=params["version"],
            by=params["by"] or user,
            run_id=params["run_id"] or run_id,
            **override,
        )


@dataclass
class Gate:
    """One run: looks until there is a verdict."""

    prometheus: Asked
    subject: Subject
    options: Options = field(default_factory=Options)
    clock: Clock = field(default_factory=Clock)

    def run(self, conditions: Sequence[Condition], budget: Condition | None = None) -> list[Decision]:
        """Decide on the budget, then, unless it is spent, on the conditions. Raises Invalid for a wrong query."""
        decided: list[Decision] = []
        if budget:
            once = replace(self.options, duration=0, failures_allowed=0)
            decided = self._overridden(self._watch([budget], once))
        if conditions and worst(decision.verdict for decision in decided) == PASS:
            decided += self._watch(conditions, self.options)
        return decided

    def _watch(self, conditions: Sequence[Condition], options: Options) -> list[Decision]:
        """Look again and again until it is enough, or too much."""
        looks = streak = 0
        failed = [0] * len(conditions)
        since: float | None = None  # of the first look that could be judged
        waiting: float | None = None  # since when nothing can be
        while True:
            asked_at = self.clock.monotonic()
            findings = self._look(conditions)
            now = self.clock.monotonic()
            verdicts = [verdict(one, found.outcome) for one, found in zip(conditions, findings, strict=True)]
            looks += 1
            failed = [count + (one == FAIL) for count, one in zip(failed, verdicts, strict=True)]
            found = worst(verdicts)
            if found == WAIT:
                waiting = asked_at if waiting is None else waiting
                enough = now - waiting >= options.timeout
            else:
                waiting, since = None, asked_at if since is None else since
                streak = streak + 1 if found == FAIL else 0
                enough = streak > options.failures_allowed or (not streak and now - since >= options.duration)
            if enough or options.only_look:
                waited = now - waiting if found == WAIT and waiting is not None else None
                return [
                    self._decision(condition, finding, self._final(one, finding, waited), looks, count)
                    for condition, finding, one, count in zip(conditions, findings, verdicts, failed, strict=True)
                ]
            self.clock.sleep(options.interval)

    def _look(self, conditions: Sequence[Condition]) -> list[Finding]:
        """Ask all that there is to ask, at once, and judge."""
        asked = {question: None for one in conditions for kind in self._kinds(one) for question in kind.values()}
        answers: Answers = dict(zip(asked, each(self._ask, asked), strict=True))
        return [self._find(condition, answers) for condition in conditions]

    def _kinds(self, condition: Condition) -> list[dict[str, Question]]:
        subject = self.subject
        kinds = [condition.questions(subject, subject.slot)]
        if condition.compares and subject.baseline:
            kinds.append(condition.questions(subject, subject.baseline, subject.baseline_time))
        return kinds

    def _ask(self, question: Question) -> float | None | Unreachable:
        try:
            return self.prometheus.ask(*question)
        except Unreachable as error:
            return error

    def _find(self, condition: Condition, answers: Answers) -> Finding:
        readings = []
        for kind in self._kinds(condition):
            found: dict[str, float | None] = {}
            for key, question in kind.items():
                answer = answers[question]
                if isinstance(answer, Unreachable):
                    return Finding(UNREACHABLE, f"{condition.name} is not known: {answer}")
                found[key] = answer
            if found["value"] is not None:
                found["value"] *= condition.scale
            readings.append(Reading(**found))
        return judge(condition, *readings)

    def _final(self, found: str, finding: Finding, waited: float | None) -> tuple[str, str]:
        """The verdict and its reason, once there is no more waiting."""
        if found != WAIT:
            return found, finding.reason
        if self.options.only_look:
            return PASS, f"{finding.reason} (which would be waited for)"
        return FAIL, f"{finding.reason}, {'not waited for' if waited is None else f'after {waited:.0f} s'}"

    def _decision(
        self, condition: Condition, finding: Finding, final: tuple[str, str], looks: int, failed: int
    ) -> Decision:
        found, reason = final
        asked = condition.questions(self.subject, self.subject.slot)
        baseline = finding.baseline
        return Decision(
            number=0,
            time=datetime.fromtimestamp(self.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            when=self.options.when,
            slot=self.subject.slot,
            condition=condition.name,
            query=asked["value"].query,
            outcome=finding.outcome,
            verdict=found,
            reason=reason,
            value=_written(finding.reading.value),
            baseline_slot=self.subject.baseline if condition.compares else None,
            baseline_value=_written(baseline.value) if baseline else None,
            bounds=condition.bounds,
            samples=_written(finding.reading.samples),
            age_seconds=_written(finding.reading.age),
            looks=looks,
            looks_failed=failed,
            version=self.options.version,
            by=self.options.by,
            run_id=self.options.run_id,
        )

    def _overridden(self, decided: list[Decision]) -> list[Decision]:
        """Let a spent budget pass if somebody answers for it; nothing else, and never one that is not known."""
        options = self.options
        if not options.override_by:
            return decided
        return [
            replace(one, verdict=PASS, override_by=options.override_by, override_reason=options.override_reason)
            if one.outcome == FAIL
            else one
            for one in decided
        ]


def _written(value: float | None) -> Number:
    """A number as JSON can hold it: infinities and NaN as Prometheus writes them."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


_ADVICE = {
    NO_DATA: "see that Prometheus scrapes the slot and that the query is right, or choose another policy no_data",
    STALE: "see why Prometheus gets nothing new of the slot, or choose another policy stale",
    TOO_FEW: "send the slot more traffic, lower samples_min, or choose another policy too_few",
    UNREACHABLE: "start Prometheus, or choose another policy unreachable to go without it",
}


_MOMENT = {BEFORE: "before the switch", DURING: "during the shift", AFTER: "after the switch"}


def sentence(subject: Subject, when: str, decided: Sequence[Decision]) -> str:
    """The verdict for people, with what to do about it if it is not a pass."""
    head = f"slot {subject.slot} of {subject.service}"
    # What is known to be bad comes first.
    bad = sorted((one for one in decided if one.verdict == FAIL), key=lambda one: one.outcome != FAIL)
    if not bad:
        told = "; ".join(
            one.reason + (f", overridden by {one.override_by}: {one.override_reason}" if one.override_by else "")
            for one in decided
        )
        return f"{head} passes the gate {_MOMENT[when]}: {told}"
    reasons = "; ".join(one.reason for one in bad)
    return f"{head} does not pass the gate {_MOMENT[when]}: {reasons}: {_advice(subject, when, bad[0])}"


def _advice(subject: Subject, when: str, bad: Decision) -> str:
    if bad.outcome != FAIL:
        return _ADVICE[bad.outcome]
    if bad.condition == BUDGET:
        return "release only repairs until it recovers, or say override_by and override_reason"
    if when == BEFORE:
        return "repair that version, or release another one"
    if when == DURING:
        return "take its traffic back with canary_shift and weight 0"
    return f"go back with ansible-playbook playbooks/rollback.yml -e service={subject.service}"


def decide(
    cluster: Writer, prometheus: Asked, params: Mapping[str, Any], options: Options, clock: Clock | None = None
) -> dict[str, Any]:
    """Judge and record: the module's answer. Raises Invalid, and any error of a record that fails after a pass."""
    clock = clock or Clock()
    what = subject(params)
    asked = conditions(params)
    limit = None
    if params["budget"]:
        given = params["budget"]["objective_percent"] is not None
        service = None if given else cluster.get("v1", "Service", what.service, what.namespace)
        limit = budget(params, objective(service, params))
    decided = tuple(Gate(prometheus, what, options, clock).run(asked, limit))
    found = worst(one.verdict for one in decided)
    told = sentence(what, options.when, decided)
    recorded, trouble = False, ""
    if not options.only_look:
        try:
            decided = _decisions.append(
                cluster, what.namespace, what.service, decided, manager=MANAGER, sleep=clock.sleep
            )
            recorded = True
        except PlatformError as error:
            trouble = f"{told} (but that could not be recorded: {error})"
            if found == PASS:
                raise type(error)(trouble, verdict=found, recorded=False) from error
    return {
        "changed": recorded or options.only_look,
        "verdict": found,
        "sentence": trouble
        or told + (" (check mode: looked once, and nothing was recorded)" if options.only_look else ""),
        "decisions": [asdict(one) for one in decided],
        "recorded": recorded,
        "run_id": options.run_id,
        "table": _decisions.table(decided),
    }
