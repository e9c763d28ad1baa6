# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role asks of a cluster, rendered by Ansible itself from the role's own defaults."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

COLLECTION = "ansible_collections.opsforge.platform"
ROLES = Path(__file__).parents[2] / "roles"
CHECKOUT = ROLES.parents[4]
# What an inventory says to every role.
PLATFORM = {
    "platform_kubeconfig": "/state/kubeconfig",
    "platform_pod_cidr": "10.244.0.0/16",
    "platform_network_subnet": "192.0.2.0/24",
    "platform_name": "test",
    "platform_namespace": "apps",
    "platform_environment": "local",
    "platform_cache_dir": "/cache",
    "platform_checkout_dir": "/checkout",
    "platform_registry_metrics": "172.30.0.2:5001",
    "platform_docs_url": "https://example.org/docs/",
    "platform_dashboards_url": "report.html#",
}

Objects = dict[tuple[str, str], dict[str, Any]]


@cache
def find_plugins() -> None:
    """Lookups and filters are found as in a run."""
    init_plugin_loader()
    # Tests import the collection as any package, and so without what Ansible finds its plugins by.
    vars(import_module(COLLECTION)).setdefault("_collection_meta", {})
    package = import_module(f"{COLLECTION}.plugins.filter")
    package.__file__ = package.__file__ or f"{package.__path__[0]}/__init__.py"


def evaluate(role: str, expression: str, **settings: Any) -> Any:
    """What an expression is within a role, with these settings over its defaults."""
    find_plugins()
    loader = DataLoader()
    variables: dict[str, Any] = {**PLATFORM, "ansible_search_path": [str(ROLES / role)], "ansible_check_mode": False}
    for name in ("defaults/main.yml", "vars/main.yml"):
        variables |= loader.load_from_file(str(ROLES / role / name), trusted_as_template=True)
    return Templar(loader, variables | settings).template(trust_as_template(expression))


def by_name(objects: Iterable[dict[str, Any]]) -> Objects:
    """Objects by (kind, name)."""
    return {(found["kind"], found["metadata"]["name"]): found for found in objects}
