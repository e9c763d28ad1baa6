# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that talks to a cluster; `module_utils/_args.py` holds their argument spec."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation shared by modules."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of the kubeconfig file.
      - Without it the environment variables E(K8S_AUTH_KUBECONFIG) and E(KUBECONFIG), then C(~/.kube/config), then
        the service account of the pod that the task runs in are used.
      - In check mode a file that does not exist stands for an empty cluster that an earlier task would have made.
    type: path
  context:
    description:
      - Context in the kubeconfig. Without it E(K8S_AUTH_CONTEXT), then the current context is used.
    type: str
requirements:
  - PyYAML
  - kubernetes (only for a kubeconfig that logs in through a plugin)
"""
