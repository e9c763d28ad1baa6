# SPDX-License-Identifier: GPL-3.0-or-later
"""Poison: events that nobody can read are put aside, seen, and can be tried again; the others go on."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis as redis_client
from starlette.testclient import TestClient

from kit.testing import Issuer, until
from notifications.settings import Settings


def dead_of(client: TestClient, headers: dict[str, str]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/dead", headers=headers).json()["items"]
    return items


def test_poison_is_put_aside_and_the_rest_goes_on(
    client: TestClient, issuer: Issuer, tell: Any, order: Any, rows: Any, settings: Settings
) -> None:
    admin = issuer.headers(roles=["admin"])
    tell("order.paid", order | {"email": "ada@example.org\nBcc: eve@example.org"})
    tell("order.paid", {})
    with redis_client.Redis.from_url(settings.redis_url.get_secret_value()) as stream:
        stream.xadd("events", {"event": b"\xff{"})
        stream.xadd("events", {"something": "else"})
    good = tell("order.paid", order)
    until(lambda: rows("SELECT 1 FROM notifications WHERE event_id = %s", good))
    until(lambda: len(dead_of(client, admin)) == 4)
    dead = dead_of(client, admin)
    assert (
        sorted((one["kind"], one["what"]) for one in dead)
        == [("event", "order.paid")] * 2 + [("event", "unreadable")] * 2
    )
    assert {one["error"] for one in dead if one["what"] == "order.paid"} == {"Unreadable"}
    assert "eve@example.org" not in json.dumps(dead)
    assert len(rows("SELECT 1 FROM notifications")) == 1


def test_a_dead_event_can_be_tried_again(
    client: TestClient,
    issuer: Issuer,
    tell: Any,
    order: Any,
    rows: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin = issuer.headers(roles=["admin"])
    with monkeypatch.context() as broken:
        broken.setattr("notifications.letters.letter._facts", lambda _event: {})  # a bug of ours
        tell("order.paid", order)
        until(lambda: dead_of(client, admin))
    (dead,) = dead_of(client, admin)
    assert (dead["what"], dead["attempts"]) == ("order.paid", 8)
    assert client.post(f"/dead/{dead['id']}/requeue", headers=admin).status_code == 202
    until(lambda: rows("SELECT template FROM notifications") == [("order_paid",)])
    assert client.get("/dead", headers=admin).json() == {"items": []}
    assert client.post(f"/dead/{dead['id']}/requeue", headers=admin).status_code == 404


def test_the_dead_are_for_admins(client: TestClient, issuer: Issuer) -> None:
    for headers, status in (
        ({}, 401),
        (issuer.headers(), 403),
        (issuer.headers(roles=["analyst"]), 403),
        (issuer.service_headers(iss="orders", aud="notifications"), 403),
    ):
        assert client.get("/dead", headers=headers).status_code == status
        assert client.post(f"/dead/{uuid4()}/requeue", headers=headers).status_code == status


@pytest.mark.parametrize("dead_id", ["1", "x", "-", "1-", "%00", "a" * 36, "1-1;--", "9" * 20 + "-1"])
def test_ids_of_another_form_are_refused(client: TestClient, issuer: Issuer, dead_id: str) -> None:
    answer = client.post(f"/dead/{dead_id}/requeue", headers=issuer.headers(roles=["admin"]))
    assert answer.status_code == 422


@pytest.mark.parametrize("dead_id", [str(UUID(int=1)), "1-1", "9" * 18 + "-" + "9" * 18])
def test_ids_of_nothing_are_not_found(client: TestClient, issuer: Issuer, dead_id: str) -> None:
    answer = client.post(f"/dead/{dead_id}/requeue", headers=issuer.headers(roles=["admin"]))
    assert answer.status_code == 404
