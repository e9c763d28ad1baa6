#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_gate.py, _prometheus.py and _decisions.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: metric_gate
short_description: A verdict on conditions on the metrics of a service's slot
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Asks Prometheus and says V(pass) or V(fail), before traffic moves, while a share of it does, or after it has moved.
  - Each condition has one of the outcomes V(pass), V(fail), V(no_data), V(stale), V(too_few) and V(unreachable).
    The last four say that nothing is known. What then happens is said for each of them, and is never a silent pass.
  - A value that is NaN, or that does not exist, is C(no_data). An infinite one is a value like others. A query that is
    wrong, or that answers with several series, is an error of the task.
  - Each decision is kept with its query, its value and its time in the ConfigMap C(<service>-decisions), the last 200.
  - Moves no traffic. Going back with M(opsforge.platform.blue_green_switch) needs no gate and no metrics.
extends_documentation_fragment: [opsforge.platform.connection, opsforge.platform.prometheus]
attributes:
  check_mode:
    support: full
    description:
      - Asks and judges once, and records nothing.
      - What it would wait for does not fail it, since an earlier task would only have made it.
  diff_mode:
    support: none
    description: Only adds to its record.
  idempotent:
    support: none
    description: Each run is a decision of its own.
options:
  service:
    description: Name of the Service.
    type: str
    required: true
  namespace:
    description: Namespace of the Service.
    type: str
    required: true
  slot:
    description: Slot that is judged.
    type: str
    choices: [blue, green]
    required: true
  version:
    description: Version in that slot, for the record.
    type: str
    default: ""
  baseline:
    description: Slot to compare with. It is asked the same queries.
    type: str
    choices: [blue, green]
  baseline_time:
    description:
      - Moment that the baseline is asked about, in seconds since the epoch; now if not given.
      - After a switch the former slot has no traffic to compare with any more, so give the moment of the switch.
        M(opsforge.platform.blue_green_switch) returns it as C(timings.patched_at).
    type: float
  when:
    description:
      - Whether traffic is still elsewhere, is on the slot in part, or is on it.
      - For the record, for the words of a refusal, and for the conditions where none are given.
    type: str
    choices: [before, during, after]
    default: after
  conditions:
    description:
      - What must be true. All of them must be.
      - If not given, the restarts of the slot's pods; unless O(when=before), when nobody asks them for anything, also
        the share of requests answered with an error, and the time that one in a hundred takes longer than.
      - An empty list asks for the O(budget) only.
      - In a query C({service}), C({namespace}), C({slot}) and C({window}) stand for what is judged. It must answer with
        one number.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name for the record and the words of a refusal.
        type: str
        required: true
      query:
        description: PromQL.
        type: str
        required: true
      max:
        description: The value may be as large as this.
        type: float
      min:
        description: The value may be as small as this.
        type: float
      ratio_max:
        description:
          - The value may be so many times that of the O(baseline). Where that is 0 only 0 is allowed.
        type: float
      difference_max:
        description: The value may be larger than that of the O(baseline) by this.
        type: float
      samples_query:
        description: PromQL that answers on how many requests, jobs or the like the value rests.
        type: str
      samples_min:
        description: With fewer the outcome is V(too_few).
        type: float
      series:
        description:
          - PromQL selector of the series whose newest sample must be fresh.
          - If not given, a scrape of a pod of the slot must have worked so lately.
        type: str
      stale_seconds:
        description: As O(stale_seconds), for this condition.
        type: float
      no_data:
        description: As O(no_data), for this condition.
        type: str
        choices: [fail, pass, wait]
      stale:
        description: As O(stale), for this condition.
        type: str
        choices: [fail, pass, wait]
      too_few:
        description: As O(too_few), for this condition.
        type: str
        choices: [fail, pass, wait]
      unreachable:
        description: As O(unreachable), for this condition.
        type: str
        choices: [fail, pass, wait]
  window:
    description: Time that queries look back on, for C({window}).
    type: str
    default: 1m
  stale_seconds:
    description: Age of the newest sample beyond which the outcome is V(stale). 0 does not ask for it.
    type: float
    default: 60
  no_data:
    description:
      - What to do when a query has no value.
      - With V(wait) it is asked again until O(timeout), and then fails.
    type: str
    choices: [fail, pass, wait]
    default: wait
  stale:
    description: What to do when what Prometheus knows is too old.
    type: str
    choices: [fail, pass, wait]
    default: wait
  too_few:
    description: What to do when the value rests on too few samples.
    type: str
    choices: [fail, pass, wait]
    default: wait
  unreachable:
    description: What to do when Prometheus does not answer, or something else answers in its place.
    type: str
    choices: [fail, pass, wait]
    default: wait
  duration:
    description:
      - How long all looks must pass, in seconds, counted from the first one that could be judged. 0 looks once.
    type: float
    default: 0
  interval:
    description: Time between two looks, in seconds.
    type: float
    default: 10
  failures_allowed:
    description: Looks in a row that may fail. The last one must pass all the same.
    type: int
    default: 0
  timeout:
    description: How long to wait, in seconds, where a policy says V(wait).
    type: float
    default: 120
  budget:
    description:
      - Refuses a release when too much of the service's error budget is spent. Decided once, before the O(conditions).
    type: dict
    suboptions:
      objective_percent:
        description:
          - Share of requests that must get no error of the service's.
          - If not given, the annotation C(slo.opsforge.dev/availability-percent) of the Service.
        type: float
      window:
        description: Time that the objective is for.
        type: str
        default: 30d
      spent_max_percent:
        description: Share of the budget that may be spent.
        type: float
        default: 100
      query:
        description:
          - PromQL that answers which share of requests failed within C({window}), from 0 to 1.
          - If not given, those of both slots that were answered with an error of the service's.
        type: str
      no_data:
        description: As O(no_data). A service that nobody has used has spent nothing.
        type: str
        choices: [fail, pass, wait]
        default: pass
  override_by:
    description:
      - Who answers for a release although the budget is spent. Needs O(override_reason).
      - Overrides nothing else, and is recorded.
    type: str
  override_reason:
    description: Why. Needs O(override_by).
    type: str
  fail:
    description: With V(false) a refusal does not fail the task, and is only returned.
    type: bool
    default: true
  by:
    description: Who asks, for the record. The user of the process if empty.
    type: str
    default: ""
  run_id:
    description: Name of the run that the decision belongs to, for the record. A random one if empty.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Judge the new slot for five minutes
  opsforge.platform.metric_gate:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: auth
    slot: green
    baseline: blue
    baseline_time: "{{ __release_switch.timings.patched_at }}"
    duration: 300

- name: Refuse a release when the error budget is spent
  opsforge.platform.metric_gate:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: auth
    slot: green
    when: before
    conditions: []
    budget:
      window: 30d

- name: Judge a worker by its queue, and do without Prometheus if need be
  opsforge.platform.metric_gate:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: notifications
    slot: blue
    unreachable: pass
    conditions:
      - name: oldest_job_seconds
        query: max(queue_oldest_job_age_seconds{namespace="{namespace}"})
        series: queue_oldest_job_age_seconds{namespace="{namespace}"}
        max: 60
"""

RETURN = r"""
verdict:
  description: V(pass) or V(fail).
  type: str
  returned: when there is one
sentence:
  description: The verdict in words, with what to do about a refusal.
  type: str
  returned: when there is a verdict
decisions:
  description: What was decided on each condition.
  type: list
  elements: dict
  returned: when there is a verdict
  contains:
    number:
      description: Its place in the record, 0 if it is not recorded.
      type: int
    time:
      description: Moment of the last look, UTC.
      type: str
      sample: "2026-01-31T12:00:00Z"
    when:
      description: As O(when).
      type: str
    slot:
      description: As O(slot).
      type: str
    version:
      description: As O(version).
      type: str
    condition:
      description: Name of the condition, V(error_budget_spent_percent) for the budget.
      type: str
    query:
      description: PromQL as it was asked.
      type: str
    value:
      description: The answer; V(NaN), V(+Inf) and V(-Inf) as words, null if there is none.
      type: raw
    baseline_slot:
      description: Slot that was compared with.
      type: str
    baseline_value:
      description: The answer of that slot.
      type: raw
    bounds:
      description: The bounds that were given, by name.
      type: dict
    samples:
      description: On how many samples the value rests.
      type: raw
    age_seconds:
      description: Age of the newest sample.
      type: raw
    outcome:
      description: V(pass), V(fail), V(no_data), V(stale), V(too_few) or V(unreachable).
      type: str
    verdict:
      description: V(pass) or V(fail).
      type: str
    reason:
      description: Why, in words.
      type: str
    looks:
      description: How often it was looked at.
      type: int
    looks_failed:
      description: How many of the looks failed.
      type: int
    by:
      description: Who asked.
      type: str
    run_id:
      description: As RV(run_id).
      type: str
    override_by:
      description: Who answers for a pass although the budget is spent.
      type: str
    override_reason:
      description: Why they do.
      type: str
recorded:
  description: Whether the decisions are in the ConfigMap.
  type: bool
  returned: when there is a verdict
run_id:
  description: Name of the run that the decisions belong to.
  type: str
  returned: when there is a verdict
table:
  description: The decisions as aligned lines.
  type: list
  elements: str
  returned: when there is a verdict
"""

import getpass
import uuid

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._conditions import (
    AFTER,
    BEFORE,
    DURING,
    FAIL,
    PASS,
    POLICIES,
    UNKNOWN,
    WAIT,
)
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._gate import Options, decide
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import PROMETHEUS_ARGS, Prometheus
from ansible_collections.opsforge.platform.plugins.module_utils._slots import SLOTS

POLICY = {"type": "str", "choices": list(POLICIES)}
CONDITION_ARGS = {
    "name": {"type": "str", "required": True},
    "query": {"type": "str", "required": True},
    "max": {"type": "float"},
    "min": {"type": "float"},
    "ratio_max": {"type": "float"},
    "difference_max": {"type": "float"},
    "samples_query": {"type": "str"},
    "samples_min": {"type": "float"},
    "series": {"type": "str"},
    "stale_seconds": {"type": "float"},
    **dict.fromkeys(UNKNOWN, POLICY),
}
BUDGET_ARGS = {
    "objective_percent": {"type": "float"},
    "window": {"type": "str", "default": "30d"},
    "spent_max_percent": {"type": "float", "default": 100.0},
    "query": {"type": "str"},
    "no_data": {**POLICY, "default": PASS},
}
ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    **PROMETHEUS_ARGS,
    "service": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "slot": {"type": "str", "choices": list(SLOTS), "required": True},
    "version": {"type": "str", "default": ""},
    "baseline": {"type": "str", "choices": list(SLOTS)},
    "baseline_time": {"type": "float"},
    "when": {"type": "str", "choices": [BEFORE, DURING, AFTER], "default": AFTER},
    "conditions": {"type": "list", "elements": "dict", "options": CONDITION_ARGS},
    "window": {"type": "str", "default": "1m"},
    "stale_seconds": {"type": "float", "default": 60.0},
    **dict.fromkeys(UNKNOWN, {**POLICY, "default": WAIT}),
    "duration": {"type": "float", "default": 0.0},
    "interval": {"type": "float", "default": 10.0},
    "failures_allowed": {"type": "int", "default": 0},
    "timeout": {"type": "float", "default": 120.0},
    "budget": {"type": "dict", "options": BUDGET_ARGS},
    "override_by": {"type": "str"},
    "override_reason": {"type": "str"},
    "fail": {"type": "bool", "default": True},
    "by": {"type": "str", "default": ""},
    "run_id": {"type": "str", "default": ""},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    try:
        cluster = connect(params, check_mode=module.check_mode)
        options = Options.of(params, user=getpass.getuser(), run_id=uuid.uuid4().hex[:12], check_mode=module.check_mode)
        result = decide(cluster, Prometheus.of(params, cluster), params, options)
    except PlatformError as error:
        module.fail_json(msg=str(error), **error.facts)
    if result["verdict"] == FAIL and params["fail"]:
        module.fail_json(msg=result["sentence"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
