# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to what Secrets and ConfigMaps hold."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kube_data
short_description: The data of a Secret or a ConfigMap, decoded
version_added: "0.1.0"
author: [OpsForge (@opsforge)]
description:
  - Returns a mapping for each name. It is empty where there is no such object, or no cluster yet.
  - Lets a role keep what it generates once in the cluster and nowhere else.
options:
  _terms:
    description: Objects, each as V(namespace/name).
    required: true
  kind:
    description: What the names are.
    type: str
    choices: [Secret, ConfigMap]
    default: Secret
  kubeconfig:
    description: Path of the kubeconfig.
    type: path
  context:
    description: Context in the kubeconfig.
    type: str
"""

EXAMPLES = r"""
- name: Reuse the password, or make one
  ansible.builtin.template:
    src: app.conf.j2
    dest: /etc/app.conf
    mode: "0600"
  vars:
    known: "{{ lookup('opsforge.platform.kube_data', 'apps/database', kubeconfig=platform_kubeconfig) }}"
    password: "{{ known.password | default(lookup('ansible.builtin.password', '/dev/null')) }}"
"""

RETURN = r"""
_raw:
  description: One mapping of key to text for each name.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._data import read
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError


class LookupModule(LookupBase):
    """Reads the objects one after the other."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[dict[str, str]]:
        """Return the data of each object. Raises AnsibleError if the cluster exists but does not answer."""
        self.set_options(var_options=variables, direct=kwargs)
        connection = {key: self.get_option(key) for key in ("kubeconfig", "context")}
        try:
            # A lookup only reads, so it sees what check mode sees: without a kubeconfig, an empty cluster.
            return read(connect(connection, check_mode=True), self.get_option("kind"), terms)
        except PlatformError as error:
            raise AnsibleError(f"kube_data: {error}") from error
