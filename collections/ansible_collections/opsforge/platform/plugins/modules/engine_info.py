#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: engine_info
short_description: Tell whether a container engine runs, and whether the machine is fit for a platform
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Says what is to be done so that a container engine answers.
  - Fails, with one sentence, on a machine that is too small and on a platform that belongs to another checkout.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tells the truth there.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Changes nothing.
options:
  platform:
    description: Name of the platform that is to run here.
    type: str
    required: true
  checkout:
    description: The checkout that the platform belongs to.
    type: path
    required: true
  folders:
    description: Folders whose disks need room.
    type: list
    elements: path
    required: true
  min_memory_bytes:
    description: Memory that the machine must have, unless the platform already runs here.
    type: int
    default: 0
  min_free_disk_bytes:
    description: Free space that the disks must have, unless the platform already runs here.
    type: int
    default: 0
  docker:
    description: The engine's command.
    type: str
    default: docker
  wait_seconds:
    description: How long to wait until the engine answers. Not at all if V(0), and then silence is no failure.
    type: int
    default: 0
  log:
    description: Where to look if it never answers, for the error message.
    type: str
    default: its log
"""

EXAMPLES = r"""
- name: Look at the engine and the machine
  opsforge.platform.engine_info:
    platform: opsforge
    checkout: /srv/opsforge
    folders: [/var/lib/docker]
    min_memory_bytes: 6442450944
  register: engine
"""

RETURN = r"""
installed:
  description: Whether an engine is there, running or not.
  returned: always
  type: bool
answers:
  description: Whether it runs.
  returned: always
  type: bool
systemd:
  description: Whether systemd manages this machine.
  returned: always
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._engine import Engine, inspect, refusal, wait
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError

ARGUMENT_SPEC = {
    "platform": {"type": "str", "required": True},
    "checkout": {"type": "path", "required": True},
    "folders": {"type": "list", "elements": "path", "required": True},
    "min_memory_bytes": {"type": "int", "default": 0},
    "min_free_disk_bytes": {"type": "int", "default": 0},
    "docker": {"type": "str", "default": "docker"},
    "wait_seconds": {"type": "int", "default": 0},
    "log": {"type": "str", "default": "its log"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    engine = Engine(params["docker"])
    try:
        if params["wait_seconds"]:
            wait(engine, params["wait_seconds"], params["log"])
        machine = inspect(engine, params["folders"])
    except PlatformError as error:
        module.fail_json(msg=str(error))
    refused = refusal(
        machine,
        platform=params["platform"],
        checkout=params["checkout"],
        min_memory=params["min_memory_bytes"],
        min_disk=params["min_free_disk_bytes"],
    )
    if refused:
        module.fail_json(msg=refused)
    module.exit_json(installed=machine.installed, answers=machine.answers, systemd=machine.systemd)


if __name__ == "__main__":
    main()
