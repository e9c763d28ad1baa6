#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of Kubernetes objects is as written."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kube_apply
short_description: Make a set of Kubernetes objects as written
version_added: 0.1.0
author:
  - OpsForge (@opsforge)
description:
  - Applies any number of objects in one process with server-side apply, so that fields nobody wrote here keep the
    values others gave them, and fields that are no longer written are removed.
  - Nothing is written before all objects have been checked and a server-side dry run has accepted them.
  - Objects are written in waves, each in parallel over up to eight connections - namespaces, custom resource
    definitions and classes (0), then accounts, rights, configuration, secrets, volumes and policies (10),
    Services (20), workloads (30), everything else (40). The annotation C(opsforge.dev/wave) puts an object into
    another wave. Namespaces and definitions are waited for before the next wave.
  - An object that already is as written costs one read and no write.
  - Values in Secrets, and values whose names say that they are secret, appear neither in the result nor in diffs, logs
    or messages.
options:
  objects:
    description:
      - The objects, each as a dictionary or as a YAML text of one or several documents. A C(List) is unpacked.
      - In a Secret C(stringData) is stored as C(data).
    type: list
    elements: raw
  src:
    description:
      - Manifests to read on the host that runs the task, each a YAML or JSON file, or a directory of such files.
    type: list
    elements: path
  namespace:
    description:
      - Namespace of objects that name none and belong into one. Without it that of the context.
    type: str
  state:
    description:
      - V(present) makes the objects as written, V(absent) deletes them, the last wave first.
    type: str
    choices: [present, absent]
    default: present
  manager:
    description:
      - Name under which the fields are owned.
    type: str
    default: opsforge
  force_conflicts:
    description:
      - Take over fields that another manager owns with another value.
      - Without it the task fails, writes nothing, and names the field and its owner.
    type: bool
    default: false
  wait:
    description:
      - Wait until all objects are ready, or with O(state=absent) gone. Objects with the annotation
        C(opsforge.dev/wave) are waited for before the next wave.
      - Deployments, StatefulSets, DaemonSets, Jobs, Pods, PersistentVolumeClaims, Namespaces, custom resource
        definitions, APIServices, Gateways and their routes must be ready; other kinds must exist.
      - The task fails at once when waiting is in vain - a container crashes again and again, an image cannot be pulled,
        its configuration is missing, no node can take a pod, a quota is used up, a Job has failed - and names the
        pod, its latest warning event and its last log lines.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds to wait.
    type: int
    default: 300
extends_documentation_fragment:
  - opsforge.platform.connection
attributes:
  check_mode:
    support: full
    description:
      - A server-side dry run of the same requests.
      - Objects whose namespace or kind does not exist yet count as created.
  diff_mode:
    support: full
    description: One diff for each object that changes.
  idempotent:
    support: full
    description: The state before and after is compared without its status and the server's bookkeeping.
seealso:
  - module: kubernetes.core.k8s
"""

EXAMPLES = r"""
- name: Run a service
  opsforge.platform.kube_apply:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    objects:
      - "{{ lookup('ansible.builtin.template', 'deployment.yml.j2') }}"
      - apiVersion: v1
        kind: Service
        metadata:
          name: web
        spec:
          ports:
            - name: http
              port: 80
              targetPort: http
    wait: true
    wait_timeout: 120

- name: Install a vendor's manifests
  opsforge.platform.kube_apply:
    src:
      - /opt/gateway/crds.yaml
      - /opt/gateway/install.yaml

- name: Remove a namespace and all that is in it
  opsforge.platform.kube_apply:
    objects:
      - apiVersion: v1
        kind: Namespace
        metadata:
          name: demo
    state: absent
    wait: true
"""

RETURN = r"""
results:
  description: What happened to each object, in the order given. On failure, to those that were reached.
  returned: always, except when nothing was reached
  type: list
  elements: dict
  contains:
    api_version:
      description: API version of the object.
      type: str
      sample: apps/v1
    kind:
      description: Kind of the object.
      type: str
      sample: Deployment
    namespace:
      description: Namespace of the object, none if it belongs to the whole cluster.
      type: str
      sample: apps
    name:
      description: Name of the object.
      type: str
      sample: web
    action:
      description: V(created), V(changed), V(unchanged) or V(deleted); in check mode what would happen.
      type: str
      sample: changed
    seconds:
      description: After how many seconds of waiting the object was ready or gone.
      returned: if it was waited for
      type: float
      sample: 3.2
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._apply import run
from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError

ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    # Never logged: it may hold Secrets. The values themselves are masked one by one in what is returned.
    "objects": {"type": "list", "elements": "raw", "no_log": True},
    "src": {"type": "list", "elements": "path"},
    "namespace": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "manager": {"type": "str", "default": "opsforge"},
    "force_conflicts": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 300},
}


def main() -> None:
    """Read the options, let `_apply` do it, return its result."""
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True, required_one_of=[("objects", "src")])
    # Ansible would blot out every word of the objects, even "default" and "true", in all that is returned.
    module.no_log_values.clear()
    shown = {"invocation": {"module_args": {**module.params, "objects": "not shown"}}}
    try:
        cluster = connect(module.params, check_mode=module.check_mode)
        result = run(cluster, module.params, check=module.check_mode, diff=module._diff)
    except PlatformError as error:
        module.fail_json(msg=str(error), **error.facts, **shown)
    for warning in cluster.warnings:
        module.warn(warning)
    module.exit_json(**result, **shown)


if __name__ == "__main__":
    main()
