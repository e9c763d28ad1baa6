#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_image.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: An image is in the registry, built from sources if it was not, or from others
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Asks the registry for the image and is content if it is there, and made from the sources that are here. An image
    that does not say what it was made from, or whose sources are not here, is taken as it is.
  - Else builds it with the container engine of this machine, pushes it, and removes the engine's copy.
attributes:
  check_mode:
    support: full
    description: Says whether it would be built. A registry that does not answer counts as empty.
  diff_mode:
    support: none
    description: An image has no text to compare.
  idempotent:
    support: full
    description: What is in the registry is not made again.
options:
  image:
    description: Full name of the image with its tag, as nodes pull it.
    type: str
    required: true
  registry:
    description:
      - Address of the registry as this machine sees it, without a scheme.
      - Its repository is the whole name of the image.
      - The host in O(image) if empty.
    type: str
    default: ""
  context:
    description: Folder that O(include) and O(dockerfile) are relative to.
    type: path
    required: true
  include:
    description: Files and folders of the build context. Tests and caches in them are left out.
    type: list
    elements: str
    required: true
  dockerfile:
    description: Path of the recipe.
    type: str
    default: Dockerfile
  target:
    description: Stage of the recipe to stop at; the last one if empty.
    type: str
    default: ""
  args:
    description: Build arguments.
    type: dict
    default: {}
  extras:
    description: Files of this machine that are laid at the context's root if they exist, by the name they get there.
    type: dict
    default: {}
  docker:
    description: The container engine's command.
    type: str
    default: docker
"""

EXAMPLES = r"""
- name: Have the image of a version
  opsforge.platform.image_build:
    image: registry.example.com/shop/auth:1.1.0
    context: /srv/shop
    include: [services/kit, services/auth, requirements/services.txt]
    dockerfile: services/Dockerfile
    args:
      SERVICE: auth
      VERSION: 1.1.0
"""

RETURN = r"""
image:
  description: Where the image is.
  type: str
  returned: success
digest:
  description: What names its content for good, C(sha256:...); empty in check mode if it would be built.
  type: str
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._download import Web
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._image import (
    Recipe,
    build,
    find,
    is_stale,
    place,
)
from ansible_collections.opsforge.platform.plugins.module_utils._registry import Registry

ARGUMENT_SPEC = {
    "image": {"type": "str", "required": True},
    "registry": {"type": "str", "default": ""},
    "context": {"type": "path", "required": True},
    "include": {"type": "list", "elements": "str", "required": True},
    "dockerfile": {"type": "str", "default": "Dockerfile"},
    "target": {"type": "str", "default": ""},
    "args": {"type": "dict", "default": {}},
    "extras": {"type": "dict", "default": {}},
    "docker": {"type": "str", "default": "docker"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    extras = {name: Path(path) for name, path in params["extras"].items()}
    what = (params["include"], params["dockerfile"], params["args"], extras, params["target"])
    recipe = Recipe(Path(params["context"]), *what)
    try:
        where = place(params["image"], params["registry"])
        registry = Registry(where.host, Web())
        found = find(registry, where, check_mode=module.check_mode)
        wanted = found is None or is_stale(registry, where, found, recipe)
        if wanted and not module.check_mode:
            build(where, recipe, docker=params["docker"])
            found = registry.manifest(where.repository, where.version)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    digest = found.digest if found and not (wanted and module.check_mode) else ""
    module.exit_json(changed=wanted, image=f"{where.host}/{where.repository}:{where.version}", digest=digest)


if __name__ == "__main__":
    main()
