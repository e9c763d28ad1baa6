#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_slots.py and _releases.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: blue_green_info
short_description: Where the traffic of a service is, what its slots hold, and how it came there
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
    description: Name of the Service.
    type: str
    required: true
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
autoscaler_follows:
  description: Slot that the autoscaler sizes, null without one.
  type: str
  returned: success
history:
  description: Releases and rollbacks, oldest first.
  type: list
  elements: dict
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

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound, PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._slots import State, described, placed, read

ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    "service": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "version": {"type": "str"},
    "first_version": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    try:
        state = read(connect(params), params["namespace"], params["service"])
    except NotFound:
        state = State(params["service"], params["namespace"])
    except PlatformError as error:
        module.fail_json(msg=str(error))
    target, versions = placed(state, version=params["version"], first=params["first_version"])
    module.exit_json(changed=False, target=target, versions=versions, **described(state))


if __name__ == "__main__":
    main()
