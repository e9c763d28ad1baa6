#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_migrations.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_run
short_description: The databases of services have what the services' versions need
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Runs the migrations of each version as a Job, all Jobs at once, and waits for them. Run it before there are pods of
    these versions.
  - Without O(contract) a Job runs what only adds to the schema. The version before goes on working with it.
  - With O(contract) it also runs what takes something away. That is refused as long as any other version has pods on
    the database, such as the slot that is kept for a rollback. Pods that are told to stop are waited for.
  - A Job is named by what it would run. One that an interrupted run left behind is waited for, and made anew if it is
    over.
  - When a Job fails, the task says so with its last log lines. Nothing else was touched by then.
extends_documentation_fragment: [opsforge.platform.connection]
attributes:
  check_mode:
    support: partial
    description:
      - Runs no Job, and refuses what would be refused. What a Job would find in the database nobody knows, so a Job
        that would run counts as a change.
  diff_mode:
    support: none
    description: The result names the revisions.
  idempotent:
    support: full
    description: By the revision that the database is at. The Job itself runs each time.
options:
  namespace:
    description: Namespace of the services.
    type: str
    required: true
  services:
    description: The versions.
    type: list
    elements: dict
    required: true
    suboptions:
      service:
        description: Name of the service.
        type: str
        required: true
      version:
        description: Its version. With O(contract) it must be the one in use.
        type: str
        required: true
      job:
        description:
          - The Job, as a dictionary or as YAML, with C(spec.activeDeadlineSeconds). A part that stands for its content
            is added to its name.
          - It ends well when the migrations have run. Of what it writes, a last line of JSON such as
            C({"event":"migrated","after":"0003","run":["0003"],"left":[]}) makes the result.
        type: raw
        required: true
      shared_with:
        description: Other services on the same database, which a contract must not harm either.
        type: list
        elements: str
      keep_seconds:
        description: How long the slot that traffic left is kept, for the reason of a refusal.
        type: float
  contract:
    description: Whether what earlier versions need is taken away.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Add to the database what the new version needs
  opsforge.platform.migration_run:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    services:
      - service: orders
        version: 1.1.0
        job: "{{ lookup('ansible.builtin.template', 'migration.yml.j2') }}"
  register: __release_migrations
"""

RETURN = r"""
migrations:
  description: What was done for each of O(services), in their order.
  type: list
  elements: dict
  returned: success
  contains:
    service:
      description: Its name.
      type: str
    version:
      description: Its version.
      type: str
    job:
      description: Name of the Job.
      type: str
    at:
      description: Revision that the database is at, null if the Job does not say or did not run.
      type: str
    run:
      description: Revisions that were run, null if the Job does not say or did not run.
      type: list
      elements: str
    left:
      description: Revisions that wait for a run with O(contract), null if the Job does not say or did not run.
      type: list
      elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._migrations import Migration, run

SERVICE_ARGS = {
    "service": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    # Never logged: an environment variable may be one's own secret.
    "job": {"type": "raw", "required": True, "no_log": True},
    "shared_with": {"type": "list", "elements": "str"},
    "keep_seconds": {"type": "float"},
}
ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    "namespace": {"type": "str", "required": True},
    "services": {"type": "list", "elements": "dict", "required": True, "options": SERVICE_ARGS},
    "contract": {"type": "bool", "default": False},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    # Ansible would blot out every word of the Jobs, even "migrate", in all that is returned.
    module.no_log_values.clear()
    params = module.params
    shown = {"invocation": {"module_args": {**params, "services": [one["service"] for one in params["services"]]}}}
    try:
        migrations = [Migration.of(one, params["namespace"]) for one in params["services"]]
        cluster = connect(params, check_mode=module.check_mode)
        result = run(
            cluster, params["namespace"], migrations, contract=params["contract"], check_mode=module.check_mode
        )
    except PlatformError as error:
        module.fail_json(msg=str(error), **error.facts, **shown)
    module.exit_json(**result, **shown)


if __name__ == "__main__":
    main()
