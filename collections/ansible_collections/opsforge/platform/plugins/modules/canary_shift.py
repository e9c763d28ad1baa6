#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_canary.py, _route.py and _share.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: canary_shift
short_description: A stated share of a service's traffic is on the new version
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Gives so many percent of the requests to the slot that is not in use, or, with O(weight=0), takes all of them back.
  - Where the service has an HTTPRoute of its name, the share is the weight of its backends, the Service C(<service>)
    and, for the canary, C(<service>-preview). It is of what comes by the entrance. Services that call this one reach
    the slot in use.
  - A service without an HTTPRoute has its Service select the pods of both slots. The sizes of the slots then make the
    share, of all requests. It is as exact as so few pods allow, and RV(approximate) says how exact that is.
  - The slot is first brought to a size for its share and has to be ready and to answer.
  - O(weight=0) moves the traffic by its first write, and needs no healthy slot, no registry and no metrics. The route
    is then as the role C(service) writes it.
  - All state is read from the cluster, so a run that was killed is finished by the next one. Each write is refused by
    the server if anybody changed the object since it was read.
  - As long as a canary is at work, the annotation C(opsforge.dev/canary) of the Service tells others so. Run it with
    O(weight=0) after traffic has been switched to the canary, too.
extends_documentation_fragment: [opsforge.platform.connection, opsforge.platform.prometheus]
attributes:
  check_mode:
    support: full
    description:
      - Tells the steps and the diff, writes nothing and measures nothing.
      - A slot that an earlier task would have created or changed counts as if it had.
  diff_mode:
    support: full
    description: Shows the share before and after.
  idempotent:
    support: full
    description: By the share, the slot and O(sticky).
options:
  service:
    description: Name of the Service.
    type: str
    required: true
  namespace:
    description: Namespace of the Service.
    type: str
    required: true
  weight:
    description:
      - Share of the requests for the canary, in percent. 0 is the way back.
      - V(100) needs an HTTPRoute. Moving the traffic for good is what M(opsforge.platform.blue_green_switch) is for.
    type: int
    required: true
  slot:
    description: Slot that is the canary; the one that is not in use if not given.
    type: str
    choices: [blue, green]
  version:
    description: Version that the canary must hold, as the label C(app.kubernetes.io/version) of the pods says it.
    type: str
  sticky:
    description:
      - Whoever got the canary stays with it, and whoever did not stays away from it, by the cookie C(<service>-slot).
        Needs an HTTPRoute.
      - Then O(weight) is the share of the newcomers; who has been there before stays where they are when it changes.
        With V(100) the canary is for everybody.
      - Clients without cookies are divided anew by each request.
    type: bool
    default: false
  sticky_seconds:
    description: How long somebody stays after their last request.
    type: int
    default: 3600
  settle_seconds:
    description:
      - Time until each proxy of the gateway has heard of a change.
      - Only O(sticky) needs it, when it begins and when it ends.
    type: float
    default: 2
  replicas_min:
    description: Pods that the canary has at the least. Without an HTTPRoute the share alone decides.
    type: int
    default: 1
  check_path:
    description: Path that each pod must answer with success before it gets a share; empty checks nothing.
    type: str
    default: /health
  check_port:
    description: Port of the pods for O(check_path).
    type: int
    default: 8000
  management_port:
    description:
      - Port of the pods that takes C(DELETE /drain), since an earlier release may have told them to close their
        connections; 0 tells them nothing.
    type: int
    default: 9000
  timeout:
    description: How long to wait for the slot, in seconds. Ends earlier when its pods can't become ready.
    type: int
    default: 300
  measure_seconds:
    description:
      - For how long the share is measured afterwards, by the requests that Prometheus counted; 0 measures nothing.
      - Has to be several times as long as the time between two scrapes.
      - Requests of services that call this one are counted too, so the share of the canary looks smaller by them.
      - A share that is not known or not as wished is a warning and no error. M(opsforge.platform.metric_gate) judges.
    type: int
    default: 0
  tolerance_points:
    description:
      - By how many percentage points the share served may differ from O(weight) without a warning.
      - Never more than half of what O(weight) is away from 0 and from 100, so that a canary without requests is told.
    type: float
    default: 5
"""

EXAMPLES = r"""
- name: Give the new version a twentieth of the requests, and see that it gets them
  opsforge.platform.canary_shift:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: auth
    version: 1.1.0
    weight: 5
    measure_seconds: 60

- name: Let each customer see one version only
  opsforge.platform.canary_shift:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: catalog
    weight: 20
    sticky: true

- name: Take all requests back
  opsforge.platform.canary_shift:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: auth
    weight: 0
"""

RETURN = r"""
service:
  description: Name of the Service.
  type: str
  returned: success
slot:
  description: Slot that is the canary, null where nothing is in use.
  type: str
  returned: success
weight:
  description: Share that the canary has; in check mode, would have. In percent.
  type: int
  returned: success
sticky:
  description: Whether people stay where they got.
  type: bool
  returned: success
by:
  description: What makes the share, V(route) or V(replicas).
  type: str
  returned: success
approximate:
  description: The pods that make the share, null if it is the route that does.
  type: str
  returned: success
  sample: 1 of 5 pods
served_percent:
  description: Share of the requests that the canary answered, null if it was not measured or nobody asked anything.
  type: float
  returned: success
samples:
  description: About how many requests were seen, null if nothing was measured.
  type: int
  returned: success
samples_needed:
  description: How many requests would tell the share within the tolerance, null if nothing was measured.
  type: int
  returned: success
steps:
  description:
    - What was done, in order, out of C(claim), C(wake), C(size), C(wait), C(check), C(aim), C(listen), C(prepare),
      C(settle), C(shift), C(clean), C(release). Traffic moves with C(shift).
  type: list
  elements: str
  returned: success
timings:
  description: Moments C(*_at) as seconds since the epoch, durations C(*_seconds); the shift only if traffic moved.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._canary import Wish
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import PROMETHEUS_ARGS, Prometheus
from ansible_collections.opsforge.platform.plugins.module_utils._shift import Options, Shift
from ansible_collections.opsforge.platform.plugins.module_utils._slots import SLOTS

ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    **PROMETHEUS_ARGS,
    "service": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "weight": {"type": "int", "required": True},
    "slot": {"type": "str", "choices": list(SLOTS)},
    "version": {"type": "str"},
    "sticky": {"type": "bool", "default": False},
    "sticky_seconds": {"type": "int", "default": 3600},
    "settle_seconds": {"type": "float", "default": 2.0},
    "replicas_min": {"type": "int", "default": 1},
    "check_path": {"type": "str", "default": "/health"},
    "check_port": {"type": "int", "default": 8000},
    "management_port": {"type": "int", "default": 9000},
    "timeout": {"type": "int", "default": 300},
    "measure_seconds": {"type": "int", "default": 0},
    "tolerance_points": {"type": "float", "default": 5.0},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    try:
        wish, options = Wish.of(params), Options.of(params)
        cluster = connect(params, check_mode=module.check_mode)
        prometheus = Prometheus.of(params, cluster) if options.measure else None
        shift = Shift(cluster, params["namespace"], params["service"], options, prometheus=prometheus)
        result = shift.run(wish, check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error), **error.facts)
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
