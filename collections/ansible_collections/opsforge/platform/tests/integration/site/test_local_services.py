# SPDX-License-Identifier: GPL-3.0-or-later
"""A developer's inner loop: the shop from the checkout's sources, without a cluster, and gone again."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.opsforge.platform.tests.integration.site.harness import docker_objects, play

pytestmark = pytest.mark.site

PASSWORD = "correct horse battery"


@pytest.fixture
def entrance() -> Iterator[str]:
    """Where the shop is; nothing of it is left afterwards."""
    run = play("local_services")
    assert run.code == 0, run.output[-3000:]
    found = re.search(r"Swagger UI: +(http://127\.0\.0\.1:\d+)/", run.output)
    assert found, run.output[-3000:]
    yield found[1]
    assert play("local_services", "-e", "state=absent").code == 0
    assert [made for kind in ("container", "network") for made in docker_objects(kind, "opsforge-local")] == []


def ask(url: str, body: Any = None, token: str = "") -> Any:
    """The answer as JSON."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
        return json.load(answer)


def test_the_shop_runs_without_a_cluster(entrance: str) -> None:
    assert play("local_services").changed == [], "a second run changes nothing"
    assert ask(f"{entrance}/orders/info") == {"service": "orders", "version": "checkout", "slot": "local"}
    assert ask(f"{entrance}/catalog/products?limit=1")["items"]
    assert ask(f"{entrance}/jobs/openapi.json")["servers"] == [{"url": "/jobs"}]
    ask(f"{entrance}/auth/signup", {"email": "a@example.org", "password": PASSWORD})
    token = ask(f"{entrance}/auth/login", {"email": "a@example.org", "password": PASSWORD})["access_token"]
    assert ask(f"{entrance}/orders/cart", token=token) == {"items": []}, "orders trusts what auth signed"
