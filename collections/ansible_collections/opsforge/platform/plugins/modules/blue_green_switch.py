#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_switch.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: blue_green_switch
short_description: Traffic of a service is on the wanted slot
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Each service has two slots, V(blue) and V(green), each a Deployment C(<service>-<slot>). Traffic is where the
    selector of the Service C(<service>) points.
  - Brings the wanted slot to the size of the slot in use, waits until each of its pods is ready and answers, then
    moves all traffic by one write. With more than 100 pods, traffic goes to both slots until the nodes know all of the
    new ones. The server refuses that write if anybody changed the Service since it was read.
  - Afterwards the former slot is told to close its connections (best effort) and stays as it is, ready for a rollback,
    for as long as O(keep_seconds) says; a run after that stops its pods, and a way back starts them again.
    The autoscaler follows the traffic, and the release is recorded in the ConfigMap C(<service>-releases) and, best
    effort, announced by an Event of the Service.
  - All state is read from the cluster, so a run that was killed is finished by the next one.
  - Needs no definition or controller of its own in the cluster.
extends_documentation_fragment: [opsforge.platform.connection]
attributes:
  check_mode:
    support: full
    description:
      - Tells the steps and the diff, and writes nothing.
      - A slot that an earlier task would have created or changed counts as if it had.
  diff_mode:
    support: full
    description: Shows where traffic was and where it is.
  idempotent:
    support: full
    description: By target. A second rollback does not bring the bad version back.
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
    description: Slot that traffic should be on.
    type: str
    choices: [blue, green]
  version:
    description:
      - Version that traffic should be on, as the label C(app.kubernetes.io/version) of the pods says it.
      - With O(slot) it must be what that slot holds.
    type: str
  digest:
    description:
      - Digest of the image that traffic should be on, C(sha256:...), where the slots name their images by it.
      - A tag may come to mean another image; a digest can't. With O(slot) or O(version) both must be true.
    type: str
  previous:
    description:
      - Go back to what the last release replaced. Refuses when that version is no longer kept.
    type: bool
    default: false
  patient:
    description:
      - Bring the slot to size, wait for it and see it answer before traffic moves.
      - With V(false) the slot must be ready already.
      - If not given, V(false) with O(previous) and V(true) otherwise.
    type: bool
  prepare:
    description:
      - Bring the slot to where traffic could move to it, and leave traffic where it is.
      - The Service C(<service>-preview) reaches it then.
    type: bool
    default: false
  replicas_min:
    description: Pods that the wanted slot has at the least before traffic moves.
    type: int
    default: 1
  ready_percent:
    description: Share of the slot's pods that must be ready where O(patient) is V(false). Else all of them must.
    type: int
    default: 100
  keep_seconds:
    description:
      - How long the slot that traffic left is kept, counted from the last release. A run after that stops its pods.
      - Without it the slot is kept for good.
      - With V(0) the slot without traffic is left no pods, once the others are at work. For what takes its work itself,
        such as the worker of a queue. The pods of an old version would go on with it, and one that is told to rest
        forgets that when it restarts. A way back then takes as long as starting the pods.
    type: float
  check_path:
    description: Path that each pod must answer with success before traffic moves; empty checks nothing.
    type: str
    default: /health
  check_port:
    description: Port of the pods for O(check_path).
    type: int
    default: 8000
  management_port:
    description: Port of the pods that takes C(PUT /drain) and C(DELETE /drain); 0 drains nothing.
    type: int
    default: 9000
  timeout:
    description: How long to wait for the slot, in seconds. Ends earlier when its pods can't become ready.
    type: int
    default: 300
  approved_by:
    description: Who approved of it, for the record.
    type: str
    default: ""
  together:
    description: The services of the joint release that this is part of, in the order of their traffic, for the record.
    type: list
    elements: str
    default: []
  by:
    description: Who moves the traffic, for the record. The user of the process if empty.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Move traffic to the green slot
  opsforge.platform.blue_green_switch:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: auth
    slot: green
    version: 1.1.0

- name: Go back to what the last release replaced
  opsforge.platform.blue_green_switch:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: auth
    previous: true
"""

RETURN = r"""
service:
  description: Name of the Service.
  type: str
  returned: success
active:
  description: Slot that traffic is on; in check mode, would be on.
  type: str
  returned: success
version:
  description: Version in that slot.
  type: str
  returned: success
steps:
  description:
    - What was done, in order, out of C(size), C(wait), C(check), C(overlap), C(spread), C(switch), C(drain), C(aim),
      C(record), C(stop).
  type: list
  elements: str
  returned: success
timings:
  description: Moments C(*_at) as seconds since the epoch, durations C(*_seconds); the patch only if traffic moved.
  type: dict
  returned: success
release:
  description: Number of the newest record of its releases, 0 if there is none.
  type: int
  returned: success
drained:
  description: Pods of the former slot that heard that they should close connections, of how many.
  type: str
  returned: success
  sample: 2/2
unheard:
  description: Why, for each pod that could not be told.
  type: dict
  returned: success
"""

import getpass

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._slots import SLOTS
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Options, Switch
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Wish

ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    "service": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "slot": {"type": "str", "choices": list(SLOTS)},
    "version": {"type": "str"},
    "digest": {"type": "str"},
    "previous": {"type": "bool", "default": False},
    "patient": {"type": "bool"},
    "prepare": {"type": "bool", "default": False},
    "replicas_min": {"type": "int", "default": 1},
    "ready_percent": {"type": "int", "default": 100},
    "keep_seconds": {"type": "float"},
    "check_path": {"type": "str", "default": "/health"},
    "check_port": {"type": "int", "default": 8000},
    "management_port": {"type": "int", "default": 9000},
    "timeout": {"type": "int", "default": 300},
    "approved_by": {"type": "str", "default": ""},
    "together": {"type": "list", "elements": "str", "default": []},
    "by": {"type": "str", "default": ""},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[("slot", "version", "digest", "previous")],
        mutually_exclusive=[("previous", "slot"), ("previous", "version"), ("previous", "digest")],
    )
    params = module.params
    try:
        cluster = connect(params, check_mode=module.check_mode)
        options = Options.of(params, user=getpass.getuser())
        switch = Switch(cluster, params["namespace"], params["service"], options)
        result = switch.run(Wish.of(params), check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error), **error.facts)
    for pod, why in result["unheard"].items():
        module.warn(f"pod {pod} was not told to change its connections: {why}")
    if "record" in result["steps"]:
        # Where nobody may write events, and long after the cluster forgot them.
        module.log(f"{params['namespace']}/{params['service']}: traffic is on {result['active']} {result['version']}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
