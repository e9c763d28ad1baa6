# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks of a cluster that has services, one of them with an objective."""

from __future__ import annotations

from typing import Any

import yaml

from ansible_collections.opsforge.platform.tests.unit import roles
from ansible_collections.opsforge.platform.tests.unit.roles import Objects, by_name

SERVICES = {
    "auth": {
        "version": "1.0.0",
        "slo": {"availability_percent": 99.9, "latency_seconds": 0.5, "latency_percent": 99},
    },
    "jobs": {"version": "1.0.0"},
    "worker": {"version": "1.0.0", "strategy": "worker", "database_of": "jobs", "queue_age_seconds": 20},
}


def evaluate(expression: str, **settings: Any) -> Any:
    """What an expression is within the role, with these settings over its defaults."""
    return roles.evaluate("monitoring", expression, **{"platform_services": SERVICES, **settings})


def render(**settings: Any) -> Objects:
    """The role's objects by (kind, name), with these settings over its defaults."""
    return by_name(evaluate("{{ __monitoring_objects }}", **settings))


def prometheus_config(objects: Objects) -> dict[str, Any]:
    """The configuration that Prometheus gets."""
    config: dict[str, Any] = yaml.safe_load(objects["ConfigMap", "prometheus"]["data"]["prometheus.yml"])
    return config
