# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk through the shop on the cluster, by its entrance: as it should be, and while all under it is killed."""

from __future__ import annotations

import base64
import random
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from benchmarks._load import Load
from loadtests.walk import Customer, Loopback, Shop

if TYPE_CHECKING:
    from conftest import Site

HTTP_NODE_PORT = 30080
ADMIN = "admin@opsforge.local"
METHODS = ("tok_ok", "tok_ok", "tok_twice", "tok_error", "tok_silent", "tok_declined")
# Every process that a walk depends on, by a pattern of its command line.
PROCESSES = (
    "python3 -m orders",
    "python3 -m payments",
    "python3 -m catalog",
    "python3 -m jobs worker",
    "redis-server",
    "python3 -m notifications",
    "postgres -c",
    "python3 -m analytics",
)


@pytest.fixture
def shop(site: Site) -> Shop:
    """The entrance, for people who try again while it is not available."""
    return Shop(Loopback(f"http://{site.published(HTTP_NODE_PORT)}"), patience=120)


@pytest.fixture
def admin(site: Site, shop: Shop) -> Customer:
    """Who may see everything."""
    secret = site.cluster.get("v1", "Secret", "auth", "apps")
    assert secret is not None
    return shop.log_in(ADMIN, base64.b64decode(secret["data"]["OPSFORGE_ADMIN_PASSWORD"]).decode())


def nodes(site: Site) -> list[str]:
    return [f"{site.platform}-{node['metadata']['name']}" for node in site.cluster.list("v1", "Node")]


def on_node(node: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "exec", node, *command], capture_output=True, text=True, check=False)


def kill(site: Site, pattern: str) -> bool:
    """Kill -9 every process of that command line on every node; whether there was one."""
    return any([on_node(node, "pkill", "-9", "-f", pattern).returncode == 0 for node in nodes(site)])


def in_pod(site: Site, service: str, *command: str) -> str:
    """Run a command in a pod of the service, by the administrator of the first node. Fails with it."""
    kubectl = ("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--namespace=apps")
    done = on_node(f"{site.platform}-cp1", *kubectl, "exec", f"service/{service}", "--", *command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def paid_today(admin: Customer) -> int:
    days = admin.ask("GET", "/analytics/summary")["days"]
    return sum(day["paid"] for day in days)


def test_somebody_signs_up_browses_orders_pays_is_notified_and_shows_in_analytics(shop: Shop, admin: Customer) -> None:
    before = paid_today(admin)
    customer = shop.sign_up()
    product = random.choice(customer.browse())
    order = customer.buy(product["id"], 2)
    assert (order["state"], order["total_cents"]) == ("fulfilled", 2 * product["price_cents"])
    # Letters name an order by the beginning of its id, as people do.
    shop.until(lambda: f"Your order {order['id'][:8]} is paid" in [n["subject"] for n in customer.notifications()], 30)
    shop.until(lambda: paid_today(admin) > before, 30)


def test_a_declined_payment_gives_the_stock_back(shop: Shop) -> None:
    customer = shop.sign_up()
    product = random.choice(customer.browse())
    stock = f"/catalog/products/{product['id']}/stock"
    before = customer.ask("GET", stock)["available"]
    order = customer.buy(product["id"], 1, "tok_declined")
    assert (order["state"], order["reason"]) == ("cancelled", "payment_failed")
    assert customer.ask("GET", stock)["available"] == before


def test_one_customer_does_not_see_the_others(shop: Shop) -> None:
    one, other = shop.sign_up(), shop.sign_up()
    order = one.buy(one.browse()[0]["id"])
    other.ask("GET", f"/orders/orders/{order['id']}", expect=(404,))
    other.ask("GET", "/analytics/summary", expect=(403,))
    shop.ask("GET", "/orders/orders", token=f"{one.token[:-4]}AAAA", expect=(401,))


def walk_on(shop: Shop, number: int) -> list[dict[str, Any]]:
    """One customer's orders, whatever happens meanwhile."""
    customer = shop.sign_up()
    choose = random.Random(number)
    orders = []
    for _ in range(4):
        customer.put_into_cart(choose.choice(customer.browse())["id"])
        order = customer.check_out(choose.choice(METHODS), key=str(uuid4()))
        orders.append({**order, "customer": customer})
    return orders


def hand_in(shop: Shop) -> list[tuple[Customer, str]]:
    """Jobs of one customer, whatever happens meanwhile."""
    customer = shop.sign_up()
    found = []
    for _ in range(25):
        body = {"kind": "primes", "payload": {"below": 2_000_000}}
        found.append((customer, customer.ask("POST", "/jobs/api/job", body=body, key=str(uuid4()))["id"]))
    return found


def test_kills_of_everything_lose_no_order_and_no_job_and_charge_nobody_twice(site: Site, shop: Shop) -> None:
    """kill -9 of each service, Redis and PostgreSQL while people order and hand in jobs."""
    with ThreadPoolExecutor(6) as pool:
        walks = [pool.submit(walk_on, shop, number) for number in range(5)]
        jobs = pool.submit(hand_in, shop)
        for pattern in PROCESSES:
            site.eventually(lambda pattern=pattern: kill(site, pattern), 60)  # type: ignore[misc]
        orders = [order for walk in walks for order in walk.result(timeout=400)]
        handed_in = jobs.result(timeout=400)
    assert len(orders) == 20

    ends = {}
    for order in orders:
        customer = order["customer"]
        customer.log_in()
        ends[order["id"]] = customer.await_end(order["id"], 240)["state"]
    assert set(ends.values()) <= {"fulfilled", "cancelled"}, ends
    assert "fulfilled" in ends.values()

    for customer, job in handed_in:
        done = shop.until(lambda: _done(customer, job), 240)  # noqa: B023 - called at once
        assert done["result"]["count"] == 148_933

    # The provider's own books: one charge for each order that is paid, none for another. The command fails otherwise.
    site.eventually(lambda: all_running(site), 120)
    in_pod(site, "payments", "python3", "-m", "payments", "reconcile")


def _done(customer: Customer, job: str) -> dict[str, Any] | None:
    found: dict[str, Any] = customer.ask("GET", f"/jobs/api/job/{job}")
    return found if found["state"] in ("done", "dead") else None


def all_running(site: Site) -> bool:
    pods = site.cluster.list("v1", "Pod", "apps")
    return all(
        any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
        for pod in pods
        if pod["status"].get("phase") != "Succeeded"  # migrations, which end
    )


@pytest.fixture
def load(site: Site, tmp_path: Path) -> Iterator[Callable[[str], Load]]:
    """Load on a path through the entrance, 100 requests a second, half of them on kept connections."""
    with Load(f"http://{site.published(HTTP_NODE_PORT)}/auth/info", 100, 300, tmp_path / "load") as running:
        yield running


def test_sigterm_under_load_drops_nothing(site: Site, load: Load) -> None:
    """Each pod of a service is told to end, one after the other."""
    for pod in site.cluster.list("v1", "Pod", "apps", {"app.kubernetes.io/name": "auth"}):
        name = pod["metadata"]["name"]
        site.cluster.delete("v1", "Pod", name, "apps")
        site.eventually(lambda name=name: site.cluster.get("v1", "Pod", name, "apps") is None, 90)  # type: ignore[misc]
        site.eventually(lambda: all_running(site), 90)
    requests = list(load.requests())
    assert len(requests) > 500
    assert [request.line() for request in requests if request.is_lost] == []
