#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_info
short_description: Tell which artifacts of the catalogue are at hand
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Compares every artifact of the catalogue with the cache, and says what is left to be made, in the order to make it.
  - Reads the disk and asks the container engine; changes nothing.
extends_documentation_fragment: [opsforge.platform.mirror]
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
    description: Name of the platform, to tell its containers from other people's.
    type: str
    required: true
  ports:
    description: Port on 127.0.0.1 of each container of the mirror, by the container's name.
    type: dict
    required: true
  config:
    description: What the label C(opsforge.dev/config) of the mirror's containers is when they are as they should be.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Compare the catalogue with the cache
  opsforge.platform.mirror_info:
    catalogue: "{{ mirror_catalogue }}"
    folder: "{{ role_path }}/files"
    cache: ~/.cache/opsforge
    registry: 127.0.0.1:5000
    platform: opsforge
    ports:
      opsforge-registry: 5000
    config: "1"
  register: mirror
"""

RETURN = r"""
artifacts:
  description: Every artifact, in the order of the catalogue.
  returned: always
  type: list
  elements: dict
  contains:
    state:
      description: V(published), V(cached) or V(missing).
      type: str
early:
  description: What is to be made before the registry can run, with a title that says how far the work is.
  returned: always
  type: list
  elements: dict
rest:
  description: What is to be made after that.
  returned: always
  type: list
  elements: dict
engine:
  description: Whether a container engine answers. Without one this module fails, but for check mode.
  returned: always
  type: bool
folders:
  description: Folders below O(cache) that the containers serve and that do not exist.
  returned: always
  type: list
  elements: str
recipes:
  description: The recipes that the work needs.
  returned: always
  type: list
  elements: str
serving:
  description: Whether the mirror's containers run as they should.
  returned: always
  type: bool
owner:
  description: The caller as C(uid:gid), who owns the cache.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._mirror import (
    MIRROR_ARGS,
    Mirror,
    is_serving,
    refusal,
    survey,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **MIRROR_ARGS,
            "platform": {"type": "str", "required": True},
            "ports": {"type": "dict", "required": True},
            "config": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        mirror = Mirror.open(params)
        ports = {name: int(port) for name, port in params["ports"].items()}
        containers = mirror.engine.containers()
        if containers is None and not module.check_mode:
            module.fail_json(msg="No container engine answers: let the role engine start one (--tags engine).")
        refused = refusal(containers or (), platform=params["platform"], ports=ports)
        if refused:
            module.fail_json(msg=refused)
        result = survey(mirror) | {"engine": containers is not None}
        serving = is_serving(containers or (), names=ports, config=params["config"])
        result["serving"] = serving and not result["early"] and not result["folders"]
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
