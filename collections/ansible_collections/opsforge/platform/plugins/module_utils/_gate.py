# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a service's slot by what Prometheus knows of it: ask, name what was found, wait where that is wanted, record.

A way back needs no gate: nothing that rolls back imports this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from ansible_collections.opsforge.platform.plugins.module_utils import _decisions
from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._conditions import (
    AFTER,
    BEFORE,
    BUDGET,
    DURING,
    FAIL,
    NO_DATA,
    PASS,
    STALE,
    TOO_FEW,
    UNREACHABLE,
    WAIT,
    Answers,
    Condition,
    Finding,
    Question,
    Reading,
    Subject,
    budget,
    conditions,
    judge,
    objective,
    subject,
    verdict,
    worst,
)
from ansible_collections.opsforge.platform.plugins.module_utils._decisions import Decision, Number
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, PlatformError, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._parallel import each
from ansible_collections.opsforge.platform.plugins.module_utils._records import Writer

MANAGER = "opsforge-gate"


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
