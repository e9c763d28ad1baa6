# SPDX-License-Identifier: GPL-3.0-or-later
"""Products through the public door: reading, paging, searching, changing, and what is refused."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from starlette.testclient import TestClient

from catalog.app import create
from catalog.settings import Settings
from kit.testing import Issuer, until

Make = Callable[..., dict[str, Any]]
INJECTION = "x'); DROP TABLE products; --"
UPDATE = {"name": "New name", "price_cents": 300}


def names(client: TestClient, **params: Any) -> list[str]:
    answer = client.get("/products", params=params)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


def test_a_product_is_created_read_and_replaced(client: TestClient, make: Make, admin: dict[str, str]) -> None:
    made = make(name="Mug", description="Holds tea.")
    path = f"/products/{made['id']}"
    answer = client.get(path)  # nobody needs a token to look around
    assert (answer.json(), answer.headers["etag"]) == (made, '"1"')
    changed = client.put(path, json=UPDATE, headers=admin | {"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    expected = made | UPDATE | {"description": "", "version": 2, "updated_at": changed.json()["updated_at"]}
    assert changed.json() == client.get(path).json() == expected
    again = client.put(path, json=UPDATE, headers=admin | {"If-Match": '"2"'})
    assert again.headers["etag"] == '"2"'  # nothing changed


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        (None, 428),
        ('"1"', 200),
        ("*", 200),
        ('"7", "1"', 200),
        ('"2"', 412),
        ('W/"1"', 412),
        ("1", 412),
        ("", 412),
        ('"1', 412),
        ("x" * 201, 422),
    ],
)
def test_only_what_was_read_is_replaced(
    client: TestClient, make: Make, admin: dict[str, str], if_match: str | None, status: int
) -> None:
    product = make()
    headers = admin | ({} if if_match is None else {"If-Match": if_match})
    for path, body in ((f"/products/{product['id']}", UPDATE), (f"/products/{product['id']}/stock", {"on_hand": 3})):
        answer = client.put(path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"


def test_of_changes_at_the_same_time_one_wins(client: TestClient, make: Make, admin: dict[str, str]) -> None:
    path = f"/products/{make()['id']}"

    def change(number: int) -> int:
        body = UPDATE | {"name": f"Name {number}"}
        return client.put(path, json=body, headers=admin | {"If-Match": '"1"'}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(change, range(8))) == [200] + [412] * 7
    assert client.get(path).json()["version"] == 2


def test_of_equal_skus_at_the_same_time_one_is_taken(client: TestClient, admin: dict[str, str]) -> None:
    new = {"sku": f"T-{secrets.token_hex(6).upper()}", "name": "Thing", "price_cents": 1}
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda _: client.post("/products", json=new, headers=admin).status_code, range(8)))
    assert statuses == [201] + [409] * 7


def test_what_is_not_active_is_not_listed_but_still_known(
    client: TestClient, make: Make, admin: dict[str, str]
) -> None:
    word = secrets.token_hex(8)
    product = make(name=word)
    assert names(client, q=word) == [word]
    path = f"/products/{product['id']}"
    body = UPDATE | {"name": word, "active": False}
    assert client.put(path, json=body, headers=admin | {"If-Match": '"1"'}).status_code == 200
    assert names(client, q=word) == []
    assert client.get(path).json()["active"] is False


def test_search_knows_words_their_forms_and_beginnings(client: TestClient, make: Make) -> None:
    tag = f"q{secrets.token_hex(6)}"
    for name, description in (
        ("Blue mugs", "Stoneware."),
        ("Teapot", "Goes with every blue mug."),
        ("Mulberry jam", ""),
        ("Chair", "Made for multitudes."),
    ):
        make(name=f"{name} {tag}", description=description)

    def search(words: str) -> list[str]:
        return [name.removesuffix(f" {tag}") for name in names(client, q=f"{tag} {words}")]

    assert search("mug") == ["Blue mugs", "Teapot"]  # the name counts more than the description
    assert search("the BLUE  mug") == ["Blue mugs", "Teapot"]
    assert sorted(search("mu")) == ["Blue mugs", "Mulberry jam"]  # beginnings are looked for in names only
    assert search("ug") == []
    assert search("mulberries") == ["Mulberry jam"]
    assert search("stoneware chair") == []


@pytest.mark.parametrize(
    "words",
    [
        INJECTION,
        "' OR 1=1 --",
        "a' | 'b",
        "!!!",
        "& | ! ( ) <-> :*",
        "it's",
        "\\",
        "\\'",
        "%",
        "_",
        "日本語",
        "a\u0301e",
        "\u00a0",
        "the",
        ":A",
        "x:*A",
        "' ' '",
        "\u2028",
        "ſ ß İ",
    ],
)
def test_every_search_is_data_and_nothing_else(client: TestClient, make: Make, words: str) -> None:
    make(name="Something")
    assert client.get("/products", params={"q": words}).status_code == 200
    assert client.get("/products", params={"q": "something"}).json()["items"]  # the table is still there


@pytest.mark.parametrize("words", ["", "wanted"])
def test_pages_show_everything_once_while_products_are_added(
    client: TestClient, make: Make, database_url: str, words: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE products SET active = false")
    before = {make(name=f"Wanted {number % 3}")["id"] for number in range(12)}
    seen: list[str] = []
    params = {"q": words, "limit": "5"}
    while True:
        page = client.get("/products", params=params).json()
        assert len(page["items"]) <= 5
        seen += [item["id"] for item in page["items"]]
        if not page["next"]:
            break
        params["cursor"] = page["next"]
        for number in range(3):  # before, among and after what was shown
            make(name=f"Wanted {number}")
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_a_list_is_in_the_order_of_names(client: TestClient, make: Make, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE products SET active = false")
    for name in ("Cc", "Aa", "Bb"):
        make(name=name)
    assert names(client) == ["Aa", "Bb", "Cc"]
    assert names(client, limit=2) == ["Aa", "Bb"]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "x"},
        {"q": "x" * 101},
        {"q": "nul \0"},
        {"cursor": "x"},
        {"cursor": "WzFd"},
        {"cursor": "W10"},
        {"cursor": "bm90anNvbg"},
        {"cursor": "' OR 1=1"},
        {"cursor": "WyIwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDAiXQ"},  # a product that never was
    ],
)
def test_bad_lists_are_refused(client: TestClient, params: dict[str, Any]) -> None:
    answer = client.get("/products", params=params)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


GOOD = {"sku": "GOOD-1", "name": "Good", "price_cents": 1}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        GOOD | {"sku": "lower"},
        GOOD | {"sku": "A" * 41},
        GOOD | {"sku": "A-"},
        GOOD | {"sku": "A\n"},
        GOOD | {"sku": INJECTION},
        GOOD | {"sku": None},
        GOOD | {"name": ""},
        GOOD | {"name": "x" * 201},
        GOOD | {"name": "nul \0"},
        GOOD | {"name": "half \ud800"},
        GOOD | {"name": {"$ne": 1}},
        GOOD | {"description": "x" * 4001},
        GOOD | {"price_cents": -1},
        GOOD | {"price_cents": 1.5},
        GOOD | {"price_cents": "1"},
        GOOD | {"price_cents": True},
        GOOD | {"price_cents": 100_000_001},
        GOOD | {"price_cents": 10**30},
        GOOD | {"currency": "eur"},
        GOOD | {"currency": "EURO"},
        GOOD | {"active": "yes"},
        GOOD | {"on_hand": -1},
        GOOD | {"on_hand": 1_000_001},
        GOOD | {"version": 7},
        GOOD | {"id": str(uuid4())},
    ],
)
def test_bad_products_are_refused(client: TestClient, admin: dict[str, str], body: Any) -> None:
    headers = admin | {"content-type": "application/json"}
    answer = client.post("/products", content=json.dumps(body), headers=headers)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"name": NaN}', b"[" * 5000, b'"\\ud800"'])
def test_bodies_that_are_not_json_are_refused(client: TestClient, admin: dict[str, str], content: bytes) -> None:
    answer = client.post("/products", content=content, headers=admin | {"content-type": "application/json"})
    assert 400 <= answer.status_code < 500


def test_oversize_bodies_are_refused(client: TestClient, admin: dict[str, str]) -> None:
    assert client.post("/products", json=GOOD | {"name": "x" * 70_000}, headers=admin).status_code == 413


def test_an_odd_name_is_data_and_nothing_else(client: TestClient, make: Make) -> None:
    for name in (INJECTION, "' || (SELECT version()) || '", "日本語 ☂", "<script>alert(1)</script>", "{{7*7}}"):
        assert client.get(f"/products/{make(name=name)['id']}").json()["name"] == name


def test_what_is_not_there_is_404(client: TestClient, admin: dict[str, str]) -> None:
    path = f"/products/{uuid4()}"
    headers = admin | {"If-Match": "*"}
    assert client.get(path).status_code == client.get(f"{path}/stock").status_code == 404
    assert client.put(path, json=UPDATE, headers=headers).status_code == 404
    assert client.put(f"{path}/stock", json={"on_hand": 1}, headers=headers).status_code == 404
    assert client.get("/products/not-an-id").status_code == 422


def test_only_administrators_write(client: TestClient, make: Make, issuer: Issuer) -> None:
    path = f"/products/{make()['id']}"
    forged = Issuer()
    forged.kid = issuer.kid
    old = issuer.claims(roles=["admin"], iat=1, exp=2)
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer x"}, 401),
        (forged.headers(roles=["admin"]), 401),
        ({"Authorization": f"Bearer {issuer.sign(old)}"}, 401),
        (issuer.headers(), 403),
        (issuer.headers(roles=["customer", "analyst"]), 403),
        (issuer.service_headers(iss="orders", aud="catalog"), 403),
        (issuer.service_headers(iss="orders", aud="payments"), 401),
    ):
        for method, where, body in (
            ("POST", "/products", GOOD),
            ("PUT", path, UPDATE),
            ("PUT", f"{path}/stock", {"on_hand": 1}),
        ):
            answer = client.request(method, where, json=body, headers=headers | {"If-Match": "*"})
            assert answer.status_code == status, (method, where, headers)
    assert client.get(path).json()["version"] == 1


def test_products_are_counted_for_operators(make: Make, settings: Settings, client: TestClient) -> None:
    make()
    with TestClient(create(settings)) as other:  # it looks when it starts
        registry = other.app.state.kit.metrics.registry  # type: ignore[attr-defined]
        until(lambda: registry.get_sample_value("catalog_products", {"state": "active"}))
