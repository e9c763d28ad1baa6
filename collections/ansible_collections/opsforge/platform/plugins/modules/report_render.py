#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_render.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report_render
short_description: One HTML page of what Prometheus and Loki know of the platform
version_added: 0.1.0
author: OpsForge (@opsforge)
description:
  - Draws the platform's dashboards over a time, for people who have no Grafana, and to keep beside an incident.
  - On top stand the alerts that fire, the objectives of the services, and when traffic moved; then each dashboard.
  - The page is one file. It has no script, asks nobody for anything, and can be read by whoever may read the file. What
    is in it came from metrics and logs, so treat it as you treat those.
  - What could not be asked says why in its own place; what has no data says so. Only a Prometheus that does not answer
    at all fails the task.
  - A panel draws 12 series at the most, those with the highest peaks, each at 241 moments at the most. A table has 100
    rows, a panel of logs 40 lines. Of a query with more than 100 series any 100 are looked at, and the panel says so.
requirements:
  - matplotlib, on the host that runs the module
extends_documentation_fragment: [opsforge.platform.connection, opsforge.platform.prometheus]
attributes:
  check_mode:
    support: full
    description: Says which dashboards would be written where, and asks nobody.
  diff_mode:
    support: none
    description: There is none; two pages differ in every picture.
  idempotent:
    support: partial
    description:
      - Each run writes what is known now, so each run changes the file.
      - With O(end), the same samples are the same page, byte by byte, and nothing changes;
        but for what the rule of an alert says while it still fires.
options:
  path:
    description: The file to write. Its folder must exist. A file that is there is replaced, as a whole or not at all.
    type: path
    required: true
  title:
    description: The heading of the page.
    type: str
    default: Platform report
  services:
    description: The services by name, as in C(platform_services). Each has a dashboard of its own.
    type: dict
    default: {}
  namespace:
    description: Where the services run.
    type: str
    default: apps
  dashboards:
    description: The dashboards to draw, by their uid, in this order. All if it is empty.
    type: list
    elements: str
    default: []
  hours:
    description: How long a time to look back, 744 hours at the most.
    type: float
    default: 6.0
  end:
    description: The last moment that is drawn, in seconds since 1970. Now if not given.
    type: float
  loki:
    description: Whether to ask Loki too. Where there is none, the page says so.
    type: bool
    default: true
  loki_url:
    description: Address of Loki. If not given, it is asked through the API server.
    type: str
  loki_token:
    description: Bearer token for O(loki_url).
    type: str
  loki_ca:
    description: File with the certificates that O(loki_url) is trusted by. If not given, those of the system.
    type: path
  loki_namespace:
    description: Namespace of the Service of Loki.
    type: str
    default: logging
  loki_service:
    description: Name of the Service of Loki.
    type: str
    default: loki
  loki_port:
    description: Port of the Service of Loki.
    type: int
    default: 3100
  loki_timeout:
    description: How long one query of Loki may take, in seconds.
    type: float
    default: 10
"""

EXAMPLES = r"""
- name: Draw the last six hours
  opsforge.platform.report_render:
    kubeconfig: "{{ platform_kubeconfig }}"
    services: "{{ platform_services }}"
    path: /tmp/report.html

- name: Keep what an outage of an hour looked like
  opsforge.platform.report_render:
    kubeconfig: "{{ platform_kubeconfig }}"
    services: "{{ platform_services }}"
    dashboards: [service-orders, failure-signals, releases]
    hours: 2
    end: 1767268800
    title: Orders failed on the first of January
    path: /srv/incidents/4711.html
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
dashboards:
  description: The uids of the dashboards in it, which are also the anchors of the page.
  type: list
  elements: str
  returned: success
panels:
  description: How many panels it has.
  type: int
  returned: success
size:
  description: Bytes of the page.
  type: int
  returned: when it was not check mode
empty:
  description: Panels without data, each as C(dashboard) colon C(title), or C(summary) for those on top.
  type: list
  elements: str
  returned: when it was not check mode
errors:
  description: Panels that could not be asked for, with the reason.
  type: list
  elements: str
  returned: when it was not check mode
notes:
  description: What is missing from the page as a whole, a sentence each.
  type: list
  elements: str
  returned: when it was not check mode
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import PROMETHEUS_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._render import LOKI_ARGS, Render

ARGUMENT_SPEC = {
    **CONNECTION_ARGS,
    **PROMETHEUS_ARGS,
    **LOKI_ARGS,
    "path": {"type": "path", "required": True},
    "title": {"type": "str", "default": "Platform report"},
    "services": {"type": "dict", "default": {}},
    "namespace": {"type": "str", "default": "apps"},
    "dashboards": {"type": "list", "elements": "str", "default": []},
    "hours": {"type": "float", "default": 6.0},
    "end": {"type": "float"},
    "loki": {"type": "bool", "default": True},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        render = Render.of(module.params)
        if module.check_mode:
            module.exit_json(changed=True, **render.foreseen())
        result = render.run(connect(module.params))
    except PlatformError as error:
        module.fail_json(msg=str(error), **error.facts)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
