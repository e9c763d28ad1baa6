#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_slots.py and _releases.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: blue_green_info
short_description: Where the traffic of services is, what their slots hold, and how it came there
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Reads what M(opsforge.platform.blue_green_switch) decides on, from the cluster, and writes nothing.
  - A service that does not exist, or not yet, is answered with no slots and no history.
extends_documentation_fragment: [opsforge.platform.connection]
attributes:
  check_mode:
    support: full
    description: Can run in check mode and reads the same. A cluster that does not exist yet is one without the service.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
options:
  service:
    description: Name of the Service. One of this and O(services) is needed.
    type: str
  services:
    description: Several Services at once, answered in RV(services).
    type: list
    elements: dict
    suboptions:
      service:
        description: Name of the Service.
        type: str
        required: true
      version:
        description: As O(version).
        type: str
      first_version:
        description: As O(first_version).
        type: str
      keep_seconds:
        description: As O(keep_seconds).
        type: float
  namespace:
    description: Namespace of the Service.
    type: str
    required: true
  version:
    description: A version that is to be released; decides RV(target) and RV(versions).
    type: str
  first_version:
    description: The version that is to be released if the service has no traffic yet.
    type: str
  keep_seconds:
    description: How long the slot that traffic left is kept, for RV(settled).
    type: float
"""

EXAMPLES = r"""
- name: See which slot is in use
  opsforge.platform.blue_green_info:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    service: auth
  register: __release_state

- name: Show the history
  ansible.builtin.debug:
    msg: "{{ __release_state.table }}"
"""

RETURN = r"""
canary:
  description: What has a share of the traffic beside the slot in use, null without.
  type: dict
  returned: success
  contains:
    slot:
      description: Its slot.
      type: str
    weight:
      description: Its share in percent.
      type: int
    sticky:
      description: Whether whoever got to one of the slots stays there.
      type: bool
    by:
      description: What divides the traffic, V(route) or V(replicas).
      type: str
overlapping:
  description: Whether traffic goes to both slots at the moment.
  type: bool
  returned: success
active:
  description: Slot that traffic is on, null if it is on none.
  type: str
  returned: success
target:
  description: Slot that traffic should be on, once the version asked about is released.
  type: str
  returned: success
versions:
  description: Version of each slot by then.
  type: dict
  returned: success
filled:
  description: Whether the target holds its version already.
  type: bool
  returned: success
settled:
  description:
    - Whether traffic is on the target with all pods ready.
    - Then M(opsforge.platform.blue_green_switch) has nothing to do.
  type: bool
  returned: success
services:
  description: For each of O(services) by name what is returned for a single one.
  type: dict
  returned: with O(services)
version:
  description: Version that traffic is on, null if it is on none.
  type: str
  returned: success
slots:
  description: Each slot that has a Deployment, by name.
  type: dict
  returned: success
  contains:
    version:
      description: Version of its pods.
      type: str
    image:
      description: Image of their first container.
      type: str
    digest:
      description: Digest of that image, empty where it is named by a tag only.
      type: str
    replicas:
      description: Pods asked for.
      type: int
    ready:
      description: Pods that would take a request now.
      type: int
    settled:
      description: Whether all pods are of the newest template.
      type: bool
    drained:
      description: Whether the last release told its pods to close their connections.
      type: bool
    pods:
      description: Names of its pods.
      type: list
      elements: str
autoscaler:
  description: Kind of what sizes the service, V(ScaledObject) or V(HorizontalPodAutoscaler), null without one.
  type: str
  returned: success
autoscaler_follows:
  description: Slot that the autoscaler sizes, null without one.
  type: str
  returned: success
history:
  description: Releases and rollbacks, oldest first.
  type: list
  elements: dict
  returned: success
released:
  description: The last release that was not a rollback, which a rollback undoes; null without one.
  type: dict
  returned: success
summary:
  description: Each slot in one line.
  type: list
  elements: str
  returned: success
table:
  description: The history as aligned lines, newest first.
  type: list
  elements: str
  returned: success
"""

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._canary import described as canary
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound, PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._parallel import each
from ansible_collections.opsforge.platform.plugins.module_utils._slots import State, described, placed, read
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Wish, is_settled

ASKED_ARGS = {
    "version": {"type": "str"},
    "first_version": {"type": "str"},
    "keep_seconds": {"type": "float"},
}
ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    **ASKED_ARGS,
    "service": {"type": "str"},
    "services": {
        "type": "list",
        "elements": "dict",
        "options": {"service": {"type": "str", "required": True}, **ASKED_ARGS},
    },
    "namespace": {"type": "str", "required": True},
}


def look(cluster: Cluster, namespace: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of one service."""
    try:
        state = read(cluster, namespace, asked["service"])
    except NotFound:
        state = State(asked["service"], namespace)
    target, versions = placed(state, version=asked["version"], first=asked["first_version"])
    wish = Wish(slot=target, version=versions.get(target), keep_seconds=asked["keep_seconds"], now=time.time())
    held = state.slots[target].version if target in state.slots else None
    return {
        "target": target,
        "versions": versions,
        "filled": held is not None and held == versions.get(target),
        "settled": is_settled(state, wish),
        "canary": canary(cluster, state),
        **described(state),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[("service", "services")],
        mutually_exclusive=[("service", "services")],
    )
    params = module.params
    try:
        # Reading only, it sees what check mode sees: without a kubeconfig, an empty cluster.
        cluster = connect(params, check_mode=True)
        asked = [params] if params["service"] else params["services"]
        found = each(lambda one: look(cluster, params["namespace"], one), asked)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    by_name = {one["service"]: answer for one, answer in zip(asked, found, strict=True)}
    module.exit_json(changed=False, **(found[0] if params["service"] else {"services": by_name}))


if __name__ == "__main__":
    main()
