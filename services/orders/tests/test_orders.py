# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at orders and cancelling them: one's own, and nobody else's."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from orders.tests.conftest import Shop


def test_pages_show_every_order_once_newest_first(quiet_shop: Shop) -> None:
    shop = quiet_shop
    made = [shop.buy() for _ in range(5)]
    shop.sql("UPDATE orders SET created_at = '2026-01-01'")  # the id decides between equals
    newest = shop.buy()
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    for length in (2, 2, 2):
        page = shop.request("GET", "/orders", params={"limit": 2, **cursor}).json()
        assert len(page["items"]) == length
        seen += [order["id"] for order in page["items"]]
        cursor = {"cursor": page["next"]}
    assert page["next"] is None
    assert seen == [newest, *sorted(made, reverse=True)]
    assert shop.request("GET", "/orders").json()["items"][0] == shop.order(newest)


@pytest.mark.parametrize(
    "params",
    [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "WzEsMl0"}, {"cursor": "' OR 1=1"}],
)
def test_bad_pages_are_refused(shop: Shop, params: dict[str, Any]) -> None:
    assert shop.request("GET", "/orders", params=params).status_code == 422


def test_orders_of_others_do_not_exist(quiet_shop: Shop) -> None:
    shop = quiet_shop
    theirs = shop.buy()
    mine, shop.headers = shop.headers, shop.issuer.headers(roles=["customer", "admin"])
    assert shop.request("GET", "/orders").json() == {"items": [], "next": None}
    for method, path in (("GET", f"/orders/{theirs}"), ("POST", f"/orders/{theirs}/cancel")):
        answer = shop.request(method, path)
        unknown = shop.request(method, path.replace(theirs, str(uuid4())))
        assert (answer.status_code, unknown.status_code) == (404, 404)
        assert answer.json()["detail"] == unknown.json()["detail"]
    shop.headers = mine
    assert shop.state(theirs) == "placed"


def test_a_placed_order_is_cancelled_and_never_asks_for_money(quiet_shop: Shop) -> None:
    shop = quiet_shop
    order_id = shop.buy()
    for _ in range(2):  # again changes nothing
        answer = shop.request("POST", f"/orders/{order_id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelling")
    shop.drive()
    again = shop.request("POST", f"/orders/{order_id}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    assert shop.order(order_id)["reason"] == "cancelled_by_user"
    assert shop.published(order_id) == ["order.placed", "order.cancelled"]
    assert shop.stand_ins.calls == {"catalog.release": 1}
    assert shop.metric("orders_finished_total", state="cancelled") == 1


@pytest.mark.parametrize(
    ("status", "state"), [("pending", "paying"), ("captured", "fulfilled"), ("failed", "cancelled")]
)
def test_once_payment_has_begun_it_is_too_late(shop: Shop, status: str, state: str) -> None:
    shop.stand_ins.status = status
    order_id = shop.buy()
    answer = shop.request("POST", f"/orders/{order_id}/cancel")
    assert answer.status_code == (200 if state == "cancelled" else 409)
    assert shop.state(order_id) == state


def test_a_cancel_while_stock_is_being_reserved_lets_it_go_again(quiet_shop: Shop) -> None:
    """The cancel comes between the catalog's answer and our note of it: the note is stale, the stock is not ours."""
    shop = quiet_shop
    order_id = shop.buy()

    def cancel(operation: str) -> None:
        if operation == "catalog.reserve":
            shop.sql(
                "UPDATE orders SET state = 'cancelling', version = version + 1, reason = 'cancelled_by_user'"
                " WHERE id = %s",
                order_id,
            )

    shop.stand_ins.after = cancel
    shop.drive()
    assert shop.state(order_id) == "cancelled"
    assert shop.stand_ins.calls == {"catalog.reserve": 1, "catalog.release": 1}
    assert shop.stand_ins.reservations[order_id]["state"] == "released"
    assert shop.stand_ins.payments == {}
    assert shop.metric("orders_driver_steps_total", step="reserve", outcome="stale") == 1


@pytest.mark.parametrize("order_id", ["1", "x' OR '1'='1", "%00", "%ff", "0" * 33])
def test_what_is_no_order_id_is_refused(shop: Shop, order_id: str) -> None:
    assert shop.request("GET", f"/orders/{order_id}").status_code == 422
    assert shop.request("POST", f"/orders/{order_id}/cancel").status_code == 422


NOBODYS = UUID(int=1)
ROUTES = [
    ("GET", "/cart"),
    ("PUT", f"/cart/items/{NOBODYS}"),
    ("DELETE", f"/cart/items/{NOBODYS}"),
    ("POST", "/checkout"),
    ("GET", "/orders"),
    ("GET", f"/orders/{NOBODYS}"),
    ("POST", f"/orders/{NOBODYS}/cancel"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_a_users_token(shop: Shop, method: str, path: str) -> None:
    import jwt

    claims = shop.issuer.claims()
    forged = {
        "none at all": "",
        "not a token": "x.y.z",
        "alg none": jwt.encode(claims, "", algorithm="none", headers={"kid": shop.issuer.kid}),
        "signed with the public key": jwt.encode(
            claims, shop.issuer.jwks()["keys"][0]["x"], algorithm="HS256", headers={"kid": shop.issuer.kid}
        ),
        "another issuer's key": type(shop.issuer)().token(),
        "expired": shop.issuer.sign(claims | {"exp": claims["iat"] - 60, "iat": claims["iat"] - 900}),
        "for another audience": shop.issuer.sign(claims | {"aud": "elsewhere"}),
    }
    for what, token in forged.items():
        answer = shop.client.request(method, path, headers={"Authorization": f"Bearer {token}"}, json={})
        assert answer.status_code == 401, what
        assert answer.headers["www-authenticate"].startswith("Bearer")
    service = shop.issuer.service_headers(iss="payments", aud="orders")
    assert shop.client.request(method, path, headers=service, json={}).status_code in (403, 422)
