# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration products: by command, at start, by many at once, and never over what is there."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

import catalog
from catalog.app import create
from catalog.seed import product_id
from catalog.settings import Settings
from kit.migrations import migrate
from kit.testing import until

NUMBER = 20


@pytest.fixture
def url(postgresql: Any) -> str:
    """Return the URL of a migrated database with no products in it."""
    url: str = postgresql.create()
    migrate(url, "catalog")
    return url


def count(url: str) -> tuple[Any, ...] | None:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT (SELECT count(*) FROM products), (SELECT count(*) FROM stock)").fetchone()


def run_seed(url: str) -> subprocess.CompletedProcess[str]:
    env = {
        "OPSFORGE_DATABASE_URL": url,
        "OPSFORGE_REDIS_URL": "redis://:5e884898da28@127.0.0.1:1/0",  # not needed for this
        "PYTHONPATH": str(Path(catalog.__file__).parents[1]),
    }
    command = [sys.executable, "-m", "catalog", "seed"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_the_command_adds_what_is_missing_once(url: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: run_seed(url), range(3)))
    assert [result.returncode for result in results] == [0] * 3, results
    assert sorted(json.loads(result.stdout)["added"] for result in results) == [0, 0, NUMBER]
    assert count(url) == (NUMBER, NUMBER)


def test_what_was_changed_stays_changed(url: str) -> None:
    run_seed(url)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE products SET price_cents = 1 WHERE sku = 'UMBRELLA'")
    run_seed(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT price_cents FROM products WHERE sku = 'UMBRELLA'").fetchone() == (1,)
    assert count(url) == (NUMBER, NUMBER)


def test_the_service_seeds_itself_when_told_to(url: str, settings: Settings) -> None:
    changed = {"database_url": SecretStr(url), "seed_demo": True}
    with TestClient(create(settings.model_copy(update=changed))) as client:
        until(lambda: len(client.get("/products", params={"limit": 100}).json()["items"]) == NUMBER)
        assert client.get(f"/products/{product_id('UMBRELLA')}").json()["sku"] == "UMBRELLA"
        assert client.get(f"/products/{product_id('UMBRELLA')}/stock").json()["available"] > 0
        found = client.get("/products", params={"q": "coffee"}).json()["items"]
        assert {item["sku"] for item in found} == {"GRINDER-HAND", "FRENCH-PRESS"}
