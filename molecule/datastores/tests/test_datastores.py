# SPDX-License-Identifier: GPL-3.0-or-later
"""Services reach their own database, nobody else does, and the data outlives the pod."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Site

# A new pod's network policies, and a store that was just deleted, need a moment. psql does not know the driver's name.
LOG_IN = """
  url=$(echo "$DATABASE_URL" | sed s/+psycopg//)
  until pg_isready --quiet --dbname="$url"; do sleep 0.5; done
"""
REDIS = 'redis-cli -e -u "$REDIS_URL" --no-auth-warning'
REACH_REDIS = f"until {REDIS} ping > /dev/null 2>&1; do sleep 0.5; done\n"


def image(site: Site, store: str) -> str:
    """The image that the store runs, which also holds its client."""
    found = site.cluster.get("apps/v1", "StatefulSet", store, "datastores")
    assert found
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def clients(site: Site, kind: str) -> list[str]:
    """Names of the services that were given a `database` or a user of `redis`."""
    names = [secret["metadata"]["name"] for secret in site.cluster.list("v1", "Secret", "apps")]
    return [name.removesuffix(f"-{kind}") for name in names if name.endswith(f"-{kind}")]


def as_client(secret: str) -> dict[str, Any]:
    """What a service's container has to connect."""
    return {"envFrom": [{"secretRef": {"name": secret}}], "env": [{"name": "PGCONNECT_TIMEOUT", "value": "5"}]}


def test_each_service_logs_in_to_its_own_database(site: Site) -> None:
    names = clients(site, "database")
    assert names
    for name in names:
        question = "SELECT current_user, current_database(), rolsuper FROM pg_roles WHERE rolname = current_user"
        script = f'{LOG_IN} psql "$url" -Atc "{question}"'
        answer = site.run("apps", image(site, "postgresql"), script, service=name, **as_client(f"{name}-database"))
        assert answer == f"{name}|{name}|f"


def test_a_service_gets_no_further_than_its_database(site: Site) -> None:
    """PUBLIC may connect to nothing that belongs to a service, nor make databases and roles."""
    name = clients(site, "database")[0]
    script = (
        LOG_IN
        + f"""
      psql "$url" -Atc "SELECT has_database_privilege('public', '{name}', 'CONNECT')"
      psql "$url" -c 'CREATE DATABASE other' 2>&1 || true
      psql "$url" -c 'CREATE ROLE other' 2>&1 || true
      psql "$(echo "$url" | sed 's/:[^:@]*@/:wrong@/')" -c 'SELECT 1' 2>&1 || true
    """
    )
    found = site.run("apps", image(site, "postgresql"), script, service=name, **as_client(f"{name}-database"))
    answer = found.splitlines()
    assert answer[0] == "f"
    assert "permission denied to create database" in answer[1]
    assert "permission denied to create role" in answer[2]
    assert "password authentication failed" in answer[3]


def test_a_service_touches_its_own_keys_in_redis_and_nothing_else(site: Site) -> None:
    script = f"""{REACH_REDIS}
      {REDIS} set catalog:{site.name} 1
      {REDIS} del catalog:{site.name}
      set -f
      for command in "get events" "xadd events * a b" "keys *" "scan 0" flushall "config get *" "acl list" info; do
        {REDIS} $command 2>&1 || true
      done
      redis-cli -h redis.datastores ping
    """
    answer = site.run(
        "apps", image(site, "redis"), script, service="catalog", **as_client("catalog-redis")
    ).splitlines()
    assert answer[:2] == ["OK", "1"]
    refused = [line for line in answer[2:] if line]
    assert [line.split()[0] for line in refused] == ["NOPERM"] * 8 + ["NOAUTH"], answer


@pytest.mark.parametrize("store, port", [("postgresql", 5432), ("redis", 6379)])
def test_other_namespaces_are_not_let_in(site: Site, store: str, port: int) -> None:
    """By NetworkPolicy: the name resolves, the connection does not come about."""
    host = f"{store}.datastores.svc.cluster.local"
    script = f"""
      getent hosts {host} > /dev/null
      timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2> /dev/null && echo open || echo closed
    """
    assert site.run(site.namespace(), image(site, "postgresql"), script) == "closed"


def test_data_survives_the_pods(site: Site) -> None:
    """A row and a key are written, both pods are deleted, and both are read back."""
    name = clients(site, "database")[0]
    table = site.name.replace("-", "_")
    database: dict[str, Any] = {"service": name, **as_client(f"{name}-database")}
    redis: dict[str, Any] = {"service": "catalog", **as_client("catalog-redis")}
    write = LOG_IN + f'psql "$url" -qc "CREATE TABLE {table} AS SELECT 42 AS answer"'
    site.run("apps", image(site, "postgresql"), write, **database)
    site.run("apps", image(site, "redis"), f"{REACH_REDIS} {REDIS} set catalog:{table} 42", **redis)
    for store in ("postgresql", "redis"):
        assert site.cluster.delete("v1", "Pod", f"{store}-0", "datastores")

    read = (
        LOG_IN
        + f"""
      psql "$url" -Atc 'SELECT answer FROM {table}'; psql "$url" -qc 'DROP TABLE {table}'
    """
    )
    assert site.run("apps", image(site, "postgresql"), read, **database) == "42"
    assert site.run("apps", image(site, "redis"), f"{REACH_REDIS} {REDIS} getdel catalog:{table}", **redis) == "42"


def test_passwords_stand_in_secrets_only(site: Site) -> None:
    secret = site.cluster.get("v1", "Secret", "passwords", "datastores")
    assert secret
    passwords = [base64.b64decode(value).decode() for value in secret["data"].values()]
    kinds = [("v1", "ConfigMap"), ("v1", "Pod"), ("batch/v1", "Job"), ("apps/v1", "StatefulSet")]
    shown = json.dumps([site.cluster.list(version, kind, "datastores") for version, kind in kinds])
    assert [password[:4] for password in passwords if password in shown] == []
