#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_artifact
short_description: Have one artifact of the catalogue at hand
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Builds the artifact, or gets it from upstream, unless the cache has it.
  - Publishes it in the file tree or the registry.
  - Waits while another run builds into the same cache.
  - The output of a build is kept in the folder C(logs) of the cache.
extends_documentation_fragment: [opsforge.platform.mirror]
attributes:
  check_mode:
    support: full
    description: Says what would be made, and makes nothing.
  diff_mode:
    support: full
    description: Shows the artifact's state before and after.
  idempotent:
    support: full
    description: What is at hand is not made again.
options:
  name:
    description: The artifact's name in the catalogue.
    type: str
    required: true
  network:
    description: Network of the containers in which images are built. The engine's default if empty.
    type: str
    default: ""
  ca_bundle:
    description: Certificates that downloads and image builds trust. The system's if empty.
    type: str
    default: ""
  go_cache:
    description: Folder of Go's build cache. Go's default if empty.
    type: str
    default: ""
  debian_mirror:
    description: URL of the Debian archive that base images are made from. The one debootstrap knows if empty.
    type: str
    default: ""
  lock_timeout_seconds:
    description: How long to wait for another run.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Have etcd at hand
  opsforge.platform.mirror_artifact:
    name: etcd
    catalogue: "{{ mirror_catalogue }}"
    folder: "{{ role_path }}/files"
    cache: ~/.cache/opsforge
    registry: 127.0.0.1:5000
"""

RETURN = r"""
artifact:
  description: What was made, with the checksum of each file, the digest of an image, and the seconds it took.
  returned: when not in check mode
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._mirror import MIRROR_ARGS, PUBLISHED, Mirror

ARGUMENT_SPEC = {
    **MIRROR_ARGS,
    "name": {"type": "str", "required": True},
    "network": {"type": "str", "default": ""},
    "ca_bundle": {"type": "str", "default": ""},
    "go_cache": {"type": "str", "default": ""},
    "debian_mirror": {"type": "str", "default": ""},
    "lock_timeout_seconds": {"type": "int", "default": 3600},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    name = module.params["name"]
    try:
        mirror = Mirror.open(module.params)
        state = mirror.state(mirror.artifact(name))
        result = {
            "changed": state != PUBLISHED,
            "diff": {"before": f"{name}: {state}\n", "after": f"{name}: {PUBLISHED}\n"},
        }
        if not module.check_mode:
            result["changed"], result["artifact"] = mirror.make(
                name, lock_timeout_seconds=module.params["lock_timeout_seconds"]
            )
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
