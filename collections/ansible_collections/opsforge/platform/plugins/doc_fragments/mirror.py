# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that read the catalogue; `module_utils/_mirror.py` holds their argument spec."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation shared by modules."""

    DOCUMENTATION = r"""
options:
  catalogue:
    description: The artifacts, in the order in which they are built.
    type: list
    elements: dict
    required: true
  folder:
    description: Holds the build folders that the catalogue names.
    type: path
    required: true
  cache:
    description: Folder of the cache.
    type: path
    required: true
  source:
    description: Which source is used of an artifact that offers both.
    type: str
    choices: [build, upstream]
    default: build
  registry:
    description: Address of the registry as this machine sees it, without a scheme.
    type: str
    required: true
  docker:
    description: The container engine's command.
    type: str
    default: docker
"""
