#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the platform's certificate authority."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_issue
short_description: A TLS Secret holds a current certificate of the platform's own authority
version_added: "0.1.0"
author: [OpsForge (@opsforge)]
description:
  - Makes a certificate authority once, keeps it in a Secret, and signs server certificates with it.
  - A certificate is made anew when it is missing, near its end, for other hostnames, or signed by another authority.
  - Private keys are made here and go to the cluster; they are never returned, and never become a variable.
extends_documentation_fragment: [opsforge.platform.connection]
attributes:
  check_mode:
    description: Says whether a certificate would be made, and why; writes nothing.
    support: full
  diff_mode:
    description: Shows hostnames and expiry before and after.
    support: full
  idempotent:
    description: A certificate that fits stays.
    support: full
options:
  namespace:
    description: Namespace of both Secrets. It must exist.
    type: str
    required: true
  name:
    description: Name of the Secret for the certificate, of type C(kubernetes.io/tls).
    type: str
    required: true
  authority:
    description: Name of the Secret that holds the authority.
    type: str
    required: true
  hostnames:
    description: DNS names (V(*.) wildcards too) and IP addresses that the certificate is for.
    type: list
    elements: str
    required: true
  days:
    description: Days for which a new certificate is valid.
    type: int
    default: 397
  renew_days:
    description: Days before its end at which a certificate is replaced. Less than O(days).
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Have a certificate for the entrance
  opsforge.platform.certificate_issue:
    kubeconfig: "{{ platform_kubeconfig }}"
    namespace: gateway
    name: platform-tls
    authority: platform-ca
    hostnames: [shop.example.com, 192.0.2.10]
"""

RETURN = r"""
ca_certificate:
  description: The authority's certificate as PEM, for clients to trust. Empty if check mode found none.
  type: str
  returned: success
expires:
  description: Last day of the certificate, as V(YYYY-MM-DD).
  type: str
  returned: success
reason:
  description: Why a certificate was made. Empty if it stayed.
  type: str
  returned: success
"""

import datetime

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.opsforge.platform.plugins.module_utils._args import CONNECTION_ARGS
from ansible_collections.opsforge.platform.plugins.module_utils._certificate import Wish, ensure
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, PlatformError

ARGUMENTS = {
    "namespace": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "authority": {"type": "str", "required": True},
    "hostnames": {"type": "list", "elements": "str", "required": True},
    "days": {"type": "int", "default": 397},
    "renew_days": {"type": "int", "default": 30},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=CONNECTION_ARGS | ARGUMENTS, supports_check_mode=True)
    wish = Wish(**{key: module.params[key] for key in ARGUMENTS})
    try:
        if wish.renew_days >= wish.days:
            raise Invalid(f"renew_days ({wish.renew_days}) must be less than days ({wish.days})")
        cluster = connect(module.params, check_mode=module.check_mode)
        result = ensure(cluster, wish, datetime.datetime.now(datetime.UTC), check=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
