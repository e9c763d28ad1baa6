# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of Prometheus for service level objectives: what failed, what is left of the budget, and who is told of it.

Only the counting differs from one objective to the other. All else is said once, for every series that is called so:
a hundred services need no thousands of rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from ansible_collections.opsforge.platform.plugins.module_utils._slo import PAGE, TICKET, Alerting, Slo

Rule = dict[str, Any]

# Counted anew at each evaluation, because pages wait for them. In seconds.
COUNTED = {"5m": 300, "30m": 1800, "1h": 3600}
# Sums of what the five minutes counted: the numbers of parts add up to the number of the whole, ratios do not.
SUMMED = ("2h", "6h", "1d", "3d")
PERIOD = "30d"
# Shorter than the five minutes after which Prometheus no longer sees a sample.
_SUMMED_EVERY = "2m"
# The short window is a twelfth of the long one, and only has to show that it goes on.
_SHORT_SHARE = 4

_OBJECTIVE, _BUDGET, _FAILURES_MIN = "slo:objective:ratio", "slo:error_budget:ratio", "slo:failures_min:count"
_OWN_ALERTS = "slo:own_alerts:info"
_REASON = "slo:reason_told:info"


class Burn(NamedTuple):
    """How many times faster than it may the budget is used, in a window and still in its last twelfth."""

    kind: str
    times: str
    long: str
    short: str
    # For how long there must have been a promise: of the first minutes, three days know no more than an hour does.
    since: str = ""
    # The window of the page that is told first, and ends long before this one: what that told of within this one's
    # short window is no news.
    after: str = ""


# A page is a fiftieth of 30 days' budget gone in an hour, or a twentieth in six; a ticket a tenth in a day or in three.
BURNS = (
    Burn(PAGE, "14.4", "1h", "5m"),
    Burn(PAGE, "6", "6h", "30m", "3h", after="1h"),
    Burn(TICKET, "3", "1d", "2h", "12h"),
    Burn(TICKET, "1", "3d", "6h", "36h"),
)
ALERT = "SLOBurnRateHigh"
# Pages that know why an objective is not kept, by its name. What they told of is no news.
REASONS = {
    "availability": "ServiceDown|ServiceErrorRateHigh",
    "latency": "ServiceErrorRateHigh",
    "freshness": "ServiceDown|QueueWithoutWorkers|QueueAgeHigh",
}
_SEVERITIES = {PAGE: "critical", TICKET: "warning"}
# A queue is worked off by more workers; what fails or is slow most often came with a release.
_RUNBOOK = '{{ if eq $labels.slo "freshness" }}scale_workload{{ else }}rollback_release{{ end }}'


def groups(slos: Sequence[Slo]) -> list[Rule]:
    """The rule groups of these objectives; none without any."""
    if not slos:
        return []
    counted = [rule for slo in slos for rule in (*_facts(slo), *_counts(slo))]
    summed = [rule for window in (*SUMMED, PERIOD) for rule in _sums(window)]
    raw = [rule for slo in slos if slo.ratio_query for rule in _long_shares(slo)]
    return [
        {"name": "slo", "rules": [*counted, *map(_ratio, COUNTED), _current_burn(), _reason(), *_alerts(slos)]},
        {"name": "slo-budget", "interval": _SUMMED_EVERY, "rules": [*summed, *raw, *_budget()]},
    ]


def _facts(slo: Slo) -> Iterator[Rule]:
    yield _constant(_OBJECTIVE, slo, slo.objective)
    yield _constant(_BUDGET, slo, 1 - slo.objective)
    if not slo.ratio_query:
        yield _constant(_FAILURES_MIN, slo, Decimal(str(slo.failures_min)))
    if slo.alerting:
        yield _constant(_OWN_ALERTS, slo, Decimal(1))


def _counts(slo: Slo) -> Iterator[Rule]:
    for window in COUNTED:
        if slo.ratio_query:
            yield _record(_error_ratio(window), slo.at(slo.ratio_query, window), _labels(slo))
            continue
        of_all, of_failed = (_number(slo, query, window) for query in (slo.total_query, slo.error_query))
        yield _record(_events(window), of_all, _labels(slo))
        # Without a failure there often is no series of failures.
        events = f"{_events(window)}{{{_selector(slo)}}}"
        yield _record(_errors(window), f"({of_failed}) or on () 0 * {events}", _labels(slo))


def _number(slo: Slo, query: str, window: str) -> str:
    """The events in a window, also of a query that tells them by the second."""
    asked = slo.at(query, window)
    return f"({asked}) * {COUNTED[window]}" if slo.per_second else asked


def _sums(window: str) -> Iterator[Rule]:
    for name in (_events, _errors):
        yield _record(name(window), f"sum_over_time({name('5m')}[{window}:5m])")
    yield _ratio(window)


def _long_shares(slo: Slo) -> Iterator[Rule]:
    """Of a share alone nobody can tell how many events it is a share of, so it is asked for each window."""
    for window in SUMMED:
        yield _record(_error_ratio(window), slo.at(slo.ratio_query, window), _labels(slo))
    average = f"avg_over_time({_error_ratio('5m')}{{{_selector(slo)}}}[{PERIOD}:5m])"
    yield _record(_error_ratio(PERIOD), average, _labels(slo))


def _ratio(window: str) -> Rule:
    return _record(_error_ratio(window), f"{_errors(window)} / ({_events(window)} > 0)")


def _current_burn() -> Rule:
    return _record("slo:current_burn_rate:ratio", f"{_error_ratio('1h')} / {_BUDGET}")


def _reason() -> Rule:
    def told(slo: str, alerts: str) -> str:
        page = f'ALERTS{{alertname=~"{alerts}", alertstate="firing", severity="critical"}}'
        return f'max by (namespace, service, slo) (label_replace({page}, "slo", "{slo}", "", ""))'

    return _record(_REASON, "\nor ".join(told(slo, alerts) for slo, alerts in REASONS.items()) + "\n")


def _budget() -> Iterator[Rule]:
    yield _record("slo:period_burn_rate:ratio", f"{_error_ratio(PERIOD)} / {_BUDGET}")
    yield _record("slo:period_error_budget_remaining:ratio", "1 - slo:period_burn_rate:ratio")


def _alerts(slos: Sequence[Slo]) -> Iterator[Rule]:
    """Those that all have in common, then those of objectives that want their own."""
    own = [slo for slo in slos if slo.alerting]
    if len(own) < len(slos):
        for burn in BURNS:
            yield _alert(burn, Alerting(""), "", beside=_OWN_ALERTS if own else "")
    for slo in own:
        for burn in BURNS:
            # Of 10 events in 100 that may fail, no 14.4 times as many ever do.
            if slo.alerting[burn.kind].enabled and Decimal(burn.times) * (1 - slo.objective) < 1:
                yield _alert(burn, slo.alerting[burn.kind], f"{{{_selector(slo)}}}")


def _alert(burn: Burn, alerting: Alerting, selector: str, beside: str = "") -> Rule:
    limit = f"{burn.times} * {_BUDGET}"
    over = "" if burn.times == "1" else f"{burn.times} times "
    name = alerting.name or ALERT
    clauses = [
        f"{_error_ratio(burn.long)}{selector} > {limit}",
        f"and {_error_ratio(burn.short)} > {limit}",
        # An hour to find it in: a Prometheus that was away for a moment has not forgotten.
        f"and last_over_time({_OBJECTIVE}[1h] offset {burn.since})" if burn.since else "",
        f"unless {_errors(burn.long)} < {_FAILURES_MIN}",
        f"unless {_SHORT_SHARE} * {_errors(burn.short)} < {_FAILURES_MIN}",
        f"unless {beside}" if beside else "",
        *(f"unless on (namespace, service, slo) last_over_time({told}[{burn.short}])" for told in _told(burn, name)),
    ]
    return {
        "alert": name,
        "expr": "\n".join(filter(None, clauses)) + "\n",
        # What knows the reason (many answers fail, no pod is ready) is told first.
        **({"for": "2m"} if burn.kind == PAGE else {}),
        "labels": {"severity": _SEVERITIES[burn.kind], "window": burn.long, **alerting.labels},
        "annotations": {
            "summary": (
                f"{{{{ $labels.slo }}}} of {{{{ $labels.service }}}}: {{{{ $value | humanizePercentage }}}} of the last"
                f" {burn.long} failed, over {over}what its error budget allows, and it goes on"
            ),
            "runbook_url": f"docs/runbooks/{ALERT}.md",
            "dashboard_url": "dashboards/slo-overview",
            "runbook": _RUNBOOK,
            **alerting.annotations,
        },
    }


def _told(burn: Burn, name: str) -> Iterator[str]:
    """What else fires as a page for the same failures. A ticket is for what all of them left of the budget."""
    if burn.kind == PAGE:
        yield _REASON
    if burn.after:
        yield f'ALERTS{{alertname={json.dumps(name)}, alertstate="firing", window="{burn.after}"}}'


def _events(window: str) -> str:
    return f"slo:sli_events:increase{window}"


def _errors(window: str) -> str:
    return f"slo:sli_errors:increase{window}"


def _error_ratio(window: str) -> str:
    return f"slo:sli_error:ratio_rate{window}"


def _constant(name: str, slo: Slo, value: Decimal) -> Rule:
    return _record(name, f"vector({value.normalize():f})", _labels(slo))


def _record(name: str, expr: str, labels: dict[str, str] | None = None) -> Rule:
    return {"record": name, "expr": expr, **({"labels": labels} if labels else {})}


def _labels(slo: Slo) -> dict[str, str]:
    return {**slo.labels, "service": slo.service, "slo": slo.name}


def _selector(slo: Slo) -> str:
    return f"service={json.dumps(slo.service)},slo={json.dumps(slo.name)}"
