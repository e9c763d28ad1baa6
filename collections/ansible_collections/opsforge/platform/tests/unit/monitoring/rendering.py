# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks of a cluster, rendered by Ansible itself from the role's own defaults."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

COLLECTION = "ansible_collections.opsforge.platform"
ROLE = Path(__file__).parents[3] / "roles/monitoring"
CHECKOUT = ROLE.parents[5]
PLATFORM = {
    "platform_kubeconfig": "/state/kubeconfig",
    "platform_pod_cidr": "10.244.0.0/16",
    "platform_name": "test",
    "platform_environment": "local",
    "platform_cache_dir": "/cache",
    "platform_registry_metrics": "172.30.0.2:5001",
    "platform_namespace": "apps",
    "platform_docs_url": "https://example.org/docs/",
    "platform_dashboards_url": "report.html#",
    "platform_services": {
        "auth": {
            "version": "1.0.0",
            "slo": {"availability_percent": 99.9, "latency_seconds": 0.5, "latency_percent": 99},
        },
        "jobs": {"version": "1.0.0"},
        "worker": {"version": "1.0.0", "strategy": "worker", "database_of": "jobs", "queue_age_seconds": 20},
    },
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


def evaluate(expression: str, **settings: Any) -> Any:
    """What an expression is within the role, with these settings over its defaults."""
    find_plugins()
    loader = DataLoader()
    variables: dict[str, Any] = {**PLATFORM, "ansible_search_path": [str(ROLE)]}
    for name in ("defaults/main.yml", "vars/main.yml"):
        variables |= loader.load_from_file(str(ROLE / name), trusted_as_template=True)
    return Templar(loader, variables | settings).template(trust_as_template(expression))


def render(**settings: Any) -> Objects:
    """The role's objects by (kind, name), with these settings over its defaults."""
    objects = evaluate("{{ __monitoring_objects }}", **settings)
    return {(found["kind"], found["metadata"]["name"]): found for found in objects}


def prometheus_config(objects: Objects) -> dict[str, Any]:
    """The configuration that Prometheus gets."""
    config: dict[str, Any] = yaml.safe_load(objects["ConfigMap", "prometheus"]["data"]["prometheus.yml"])
    return config
