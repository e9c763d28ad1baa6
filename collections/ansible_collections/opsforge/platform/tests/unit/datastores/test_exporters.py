# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells Prometheus of the stores: its place, its rights, and that it stays away from external ones."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.tests.unit import roles
from ansible_collections.opsforge.platform.tests.unit.roles import Objects, by_name

SITE: dict[str, Any] = {
    "platform_services": {"auth": {"database": True, "redis": ["events*"]}},
    "groups": {"workers": ["worker1"]},
    # As a run finds it that made them before.
    "__datastores_known": {"monitoring": "seen", "redis-monitoring": "heard"},
}
PORTS = {"postgresql": 9187, "redis": 9121}


def evaluate(expression: str, **settings: Any) -> Any:
    """What an expression is within the role, with these settings over its defaults."""
    return roles.evaluate("datastores", expression, **SITE, **settings)


def render(**settings: Any) -> Objects:
    """The role's objects by (kind, name)."""
    streams = evaluate("{{ __datastores_objects }}", **settings)
    return by_name(document for stream in streams for document in yaml.safe_load_all(stream) if document)


@pytest.fixture(scope="module")
def objects() -> Objects:
    return render()


def pod(objects: Objects, store: str) -> dict[str, Any]:
    return objects["Deployment", f"{store}-exporter"]["spec"]["template"]


@pytest.mark.parametrize("store", PORTS)
def test_an_exporter_is_scraped_and_held_to_restricted(objects: Objects, store: str) -> None:
    template = pod(objects, store)
    (container,) = template["spec"]["containers"]
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORTS[store]),
    }
    assert container["ports"] == [{"name": "metrics", "containerPort": PORTS[store]}]
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("store", PORTS)
def test_prometheus_reaches_the_exporter_and_the_exporter_its_store(objects: Objects, store: str) -> None:
    own = objects["NetworkPolicy", f"{store}-exporter"]["spec"]
    (ingress,) = own["ingress"]
    assert ingress["ports"] == [{"port": PORTS[store]}]
    assert ingress["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert own["egress"][1]["to"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": store}
    assert f"{store}-exporter" in str(objects["NetworkPolicy", store]["spec"]["ingress"])


@pytest.mark.parametrize("store", PORTS)
def test_its_password_is_one_of_its_own_and_stands_in_the_secret_only(objects: Objects, store: str) -> None:
    (container,) = pod(objects, store)["spec"]["containers"]
    (reference,) = [variable["valueFrom"]["secretKeyRef"] for variable in container["env"] if "valueFrom" in variable]
    key = {"postgresql": "monitoring", "redis": "redis-monitoring"}[store]
    assert reference == {"name": "passwords", "key": key}
    password = base64.b64decode(objects["Secret", "passwords"]["data"][key]).decode()
    assert password == SITE["__datastores_known"][key]
    assert password not in str({name: found for name, found in objects.items() if name[0] != "Secret"})


def test_it_sees_figures_of_redis_and_no_keys(objects: Objects) -> None:
    users = base64.b64decode(objects["Secret", "passwords"]["data"]["redis-users.conf"]).decode().splitlines()
    (mine,) = [line for line in users if line.startswith("user monitoring ")]
    assert "~" not in mine and "@" not in mine
    assert "+info" in mine.split()


def test_it_sees_figures_of_postgresql_and_owns_nothing(objects: Objects) -> None:
    sql = objects["ConfigMap", "databases"]["data"]["databases.sql"]
    assert "GRANT pg_monitor TO monitoring;" in sql
    assert 'OWNER "monitoring"' not in sql
    (job,) = [
        found for (kind, name), found in objects.items() if kind == "Job" and name.startswith("postgresql-users-")
    ]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "PASSWORD_monitoring" in [variable["name"] for variable in container["env"]]


def test_a_password_is_neither_logged_nor_shown_as_a_running_statement(objects: Objects) -> None:
    """The exporter's user may read what others are running."""
    sql = objects["ConfigMap", "databases"]["data"]["databases.sql"]
    before, _ = sql.split("\\getenv", 1)
    assert {"SET log_min_error_statement = panic;", "SET track_activities = off;"} <= {
        line.partition(" --")[0] for line in before.splitlines()
    }
    assert "PASSWORD" not in before


def test_a_new_exporter_restarts_no_store(objects: Objects) -> None:
    changed = render(datastores_redis_exporter_image="example.org/other:1")
    assert changed["Deployment", "redis-exporter"] != objects["Deployment", "redis-exporter"]
    assert changed["StatefulSet", "redis"] == objects["StatefulSet", "redis"]


def test_an_external_store_has_none_of_ours() -> None:
    objects = render(datastores_postgresql_url="postgresql://u:p@db:5432")
    assert ("Deployment", "redis-exporter") in objects
    assert ("Deployment", "postgresql-exporter") not in objects
    none = render(datastores_postgresql_url="postgresql://u:p@db:5432", datastores_redis_url="redis://r:6379/0")
    assert not [name for kind, name in none if kind == "Deployment"]


@pytest.mark.parametrize(
    "settings", [{"datastores_databases": ["monitoring"]}, {"datastores_redis_users": {"monitoring": ["a*"]}}]
)
def test_its_name_is_no_service_s(settings: dict[str, Any]) -> None:
    (complaint,) = evaluate("{{ __datastores_complaints }}", **settings)
    assert "monitoring" in complaint
