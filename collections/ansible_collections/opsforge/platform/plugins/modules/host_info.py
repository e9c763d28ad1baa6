#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_host.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: What a machine is and may do, as far as a Kubernetes node depends on it
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Reads in one go what decides how containerd, kubelet and kubeadm are set up on a host.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and reads the same.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
options:
  commands:
    description: Commands to look up in the search path.
    type: list
    elements: str
    default: []
  cluster:
    description: Name of the cluster that the host is to belong to.
    type: str
    default: ""
  marker:
    description: File in which the role cluster notes C(started) before kubeadm's work and C(done) after it.
    type: path
    default: /var/lib/opsforge/cluster
  services:
    description: Services whose states are told.
    type: list
    elements: str
    default: []
  data:
    description: Folder whose file system's free space is told.
    type: path
    default: /var/lib
"""

EXAMPLES = r"""
- name: Look at the host
  opsforge.platform.host_info:
    commands: [runc, conntrack]
  register: __node_host
"""

RETURN = r"""
host:
  description: What was found.
  type: dict
  returned: always
  contains:
    admin_sha256:
      description: Digest of the administrator's kubeconfig on the host, or empty.
      type: str
    applied:
      description: Digest of the configuration that kubeadm was last given, as the role cluster noted it.
      type: str
    architecture:
      description: The processor in Kubernetes' words, as V(amd64).
      type: str
    bridge_filtered:
      description: Whether packets that cross a bridge pass the packet filter.
      type: bool
    ca_sha256:
      description: Digest of the cluster's CA certificate file, or empty.
      type: str
    cgroup_version:
      description: V(1) or V(2).
      type: int
    container:
      description: Whether the host is a container.
      type: bool
    cpus:
      description: Number of processors.
      type: int
    free_bytes:
      description: Free space below O(data).
      type: int
    membership:
      description:
        - What kubeadm left; V(absent) is nothing, V(member) a member of O(cluster).
        - V(partial) is what a run that was cut off left, V(foreign) what belongs to another cluster.
      type: str
    memory_bytes:
      description: Physical memory.
      type: int
    missing_commands:
      description: Those of O(commands) that are not installed.
      type: list
      elements: str
    modules_loadable:
      description: Whether the host may load kernel modules and has them.
      type: bool
    nameservers:
      description: Name servers that a pod can reach; empty if the host only knows loopback stubs.
      type: list
      elements: str
    oom_score_adjustable:
      description: Whether processes may be made less likely victims of the OOM killer.
      type: bool
    services:
      description: For each of O(services) whether it is C(active) and C(enabled).
      type: dict
    swap:
      description: Swap devices in use.
      type: list
      elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils import _host


def main() -> None:
    """Read and answer."""
    module = AnsibleModule(
        argument_spec={
            "commands": {"type": "list", "elements": "str", "default": []},
            "cluster": {"type": "str", "default": ""},
            "marker": {"type": "path", "default": "/var/lib/opsforge/cluster"},
            "services": {"type": "list", "elements": "str", "default": []},
            "data": {"type": "path", "default": "/var/lib"},
        },
        supports_check_mode=True,
    )
    services = module.params["services"]
    found = _host.inspect(
        Path("/"),
        **{name: module.params[name] for name in ("commands", "cluster", "marker", "data")},
        services=_host.service_states(_host.show_services(services), services),
    )
    module.exit_json(changed=False, host=found)


if __name__ == "__main__":
    main()
