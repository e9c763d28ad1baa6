#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_incidents.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: incident
short_description: The record of an incident, from its opening to what was verified at its end
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Each incident is a ConfigMap C(incident-<id>), one line of JSON for each entry. An entry has the hash of the one
    before it, so a line that somebody changed, removed or moved shows, and the first such entry is named.
  - The hashes are without a key. Who may write ConfigMaps can write a whole new record, so keep the C(head) that each
    run returns elsewhere if that matters to you, in the log for example. The server refuses every change of the data
    of a record that is closed; it can only be deleted.
  - Each entry is one optimistic write. Of two writers at the same time none loses its entry, and a run that is killed
    leaves a record that can be read, with the entry or without it.
  - A record that is not as it was written is left as it was found, and takes no more entries. They would look as
    proved as the others, and are not. Keep a copy, delete it, and open another incident. The next one opened with the
    same O(key) is another one.
  - A record takes 800,000 bytes of entries, then it must be closed and another one opened; nothing is dropped from it.
    Nothing but people removes a record.
  - What follows the name of a secret is hidden before it is written. Text is cut after 2000 characters, values of
    O(data) after 300, and say so.
extends_documentation_fragment: [opsforge.platform.connection]
attributes:
  check_mode:
    support: full
    description:
      - The server is asked whether it would take the entry, and keeps nothing.
      - An O(id) that does not exist counts as opened by an earlier task. By O(key) and O(service) only those are found
        that exist.
  diff_mode:
    support: full
    description: Shows the timeline before and after.
  idempotent:
    support: partial
    description:
      - Opening what is open and closing what is closed change nothing.
      - Appending is idempotent with O(event_id).
options:
  state:
    description:
      - V(opened) - there is an open incident with this O(id) or O(key).
      - V(appended) - an entry is in the record. Without an O(event_id) each run adds one.
      - V(closed) - it has its last entry. There must be an incident with that O(id); with O(key), if none is open,
        nothing changes.
      - V(report) - changes nothing, and returns what happened and whether the records are as they were written.
    type: str
    choices: [opened, appended, closed, report]
    required: true
  namespace:
    description: Namespace of the records.
    type: str
    required: true
  id:
    description:
      - Name of the incident. Once it is closed it can't be opened again.
      - If not given, it is made of the O(key), and returned.
    type: str
  key:
    description:
      - What the incident is about, such as an alert and what it is on. Of one key one incident is open at a time, and
        once it is closed the next one has a name of its own.
      - Names the one that is open for V(appended) and V(closed), and all of them for V(report).
    type: str
  service:
    description:
      - V(opened) - the service that it is about.
      - V(appended) - an entry in each open incident of that service, of which there may be none. A record that can't
        take it does not fail the task, and is in RV(refused).
      - V(report) - all incidents of that service.
    type: str
  kind:
    description: What the entry tells.
    type: str
    choices: [event, release, rollback, action, verified, note]
    default: event
  text:
    description: What happened, for people; with O(state=closed) what was verified. Needed but for V(report).
    type: str
  data:
    description: The same for programs, 16 values at the most, none of them a list or a mapping.
    type: dict
  event_id:
    description: A name that this event has and no other. A record that has it stays as it is.
    type: str
  by:
    description: Who did it. The user of the process if empty.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Open an incident, unless it is open
  opsforge.platform.incident:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    state: opened
    key: alert/HighErrorRate/auth
    service: auth
    text: 5 percent of the requests fail
  register: __triage_incident

- name: Have the release in each open incident of the service
  opsforge.platform.incident:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    state: appended
    service: auth
    kind: release
    event_id: release/auth/7
    text: auth 1.1.0 serves from slot green
    data:
      version: 1.1.0

- name: Close it
  opsforge.platform.incident:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    state: closed
    key: alert/HighErrorRate/auth
    text: No request failed in the last 10 minutes, and the alert is resolved

- name: Look what happened
  opsforge.platform.incident:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: apps
    state: report
    id: "{{ __triage_incident.incidents[0].id }}"
  register: __triage_report
"""

RETURN = r"""
incidents:
  description:
    - The incidents that were asked for or written, as they are; in check mode, would be. With O(state=report) oldest
      first.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: Name of the incident.
      type: str
    service:
      description: The service that it is about; may be empty.
      type: str
    key:
      description: The key that it was opened with; may be empty.
      type: str
    state:
      description: V(open) or V(closed).
      type: str
    opened_at:
      description: Moment of its first entry, UTC.
      type: str
      sample: "2026-01-31T12:00:00Z"
    closed_at:
      description: Moment of its last entry, UTC; empty while it is open.
      type: str
    duration_seconds:
      description: From its opening to its end, or until now; null where nobody can tell.
      type: float
    size:
      description: How many entries it has.
      type: int
    head:
      description: Hash of the last entry, which stands for the whole record.
      type: str
    intact:
      description: Whether each entry is as it was written.
      type: bool
    fault:
      description: The first entry that is not, and why; else empty.
      type: str
      sample: "entry 3 was changed: its hash is not that of its content"
    entries:
      description: The entries that can be read, with C(number), C(time), C(kind), C(text), C(by), C(data),
        C(event_id), C(previous) and C(hash). Only with O(state=report).
      type: list
      elements: dict
refused:
  description: Why, for each open incident whose record took nothing.
  type: dict
  returned: success
timeline:
  description: All of it as aligned lines. Entries with an exclamation mark are not proved.
  type: list
  elements: str
  returned: when O(state=report)
"""

import getpass

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._incidents import KINDS, STATES, Desk, Wish

ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    "state": {"type": "str", "choices": list(STATES), "required": True},
    "namespace": {"type": "str", "required": True},
    "id": {"type": "str"},
    "key": {"type": "str", "no_log": False},
    "service": {"type": "str"},
    "kind": {"type": "str", "choices": list(KINDS), "default": KINDS[0]},
    "text": {"type": "str"},
    "data": {"type": "dict"},
    "event_id": {"type": "str"},
    "by": {"type": "str", "default": ""},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    try:
        cluster = connect(params, check_mode=module.check_mode)
        desk = Desk(cluster, params["namespace"], check_mode=module.check_mode)
        result = desk.run(Wish.of(params, user=getpass.getuser()))
    except PlatformError as error:
        module.fail_json(msg=str(error), **error.facts)
    faults = {one["id"]: f"incident {one['id']}: {one['fault']}" for one in result["incidents"] if one["fault"]}
    for why in {**faults, **result["refused"]}.values():
        module.warn(why)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
