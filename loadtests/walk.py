# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk through the shop, by its public door: sign up, log in, browse, order, pay, be notified, see it in analytics.

A `Shop` is one entrance, a `Customer` somebody in it. Tests walk, faults are made while many walk, and Locust walks for
load; whoever walks brings the function that sends a request.
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

FINAL = frozenset({"fulfilled", "cancelled", "refund_due"})


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 stands for no answer at all."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Send(Protocol):
    """Sends one request; `name` groups the paths of one route."""

    def __call__(
        self, method: str, path: str, *, name: str, headers: Mapping[str, str], body: object | None
    ) -> Answer: ...


class Refused(Exception):
    """The shop answered otherwise than the walk expects."""


@dataclass
class Loopback:
    """Sends over new connections to an entrance on this machine: `Loopback("http://127.0.0.1:8080")`."""

    base: str
    timeout: float = 10

    def __call__(self, method: str, path: str, *, name: str, headers: Mapping[str, str], body: object | None) -> Answer:
        """Send; a broken or refused connection is an answer with status 0."""
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=self.timeout)
        content = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException):
            return Answer(0)
        finally:
            connection.close()
        try:
            seen = json.loads(raw) if raw else None
        except ValueError:
            seen = raw.decode(errors="replace")
        return Answer(response.status, seen, {key.lower(): value for key, value in response.getheaders()})


@dataclass
class Shop:
    """One entrance. `patience` is how many seconds a request is sent again while the shop is not available."""

    send: Send
    patience: float = 0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        body: object | None = None,
        key: str = "",
        name: str = "",
        expect: tuple[int, ...] = (200, 201, 202, 204),
    ) -> Any:
        """Return the body of an expected answer; raises Refused for any other.

        What can be sent twice without harm is sent again while the answer is 'not now' (none, 429, 502, 503, 504).
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key:
            headers["Idempotency-Key"] = key
        deadline = self.clock() + self.patience
        while True:
            answer = self.send(method, path, name=name or path, headers=headers, body=body)
            if answer.status in expect:
                return answer.body
            if answer.status not in (0, 429, 502, 503, 504) or self.clock() >= deadline:
                raise Refused(f"{method} {path}: {answer.status} {answer.body}")
            self.sleep(min(float(answer.headers.get("retry-after", 0.5)), 5.0))

    def until(self, look: Callable[[], Any], seconds: float = 60) -> Any:
        """Look again and again until something true is seen; raises Refused after that many seconds."""
        deadline = self.clock() + seconds
        while not (seen := look()):
            if self.clock() >= deadline:
                raise Refused(f"after {seconds:.0f} s still {seen!r}")
            self.sleep(0.25)
        return seen

    def sign_up(self) -> Customer:
        """Make somebody with an address and a password of their own, and log them in."""
        customer = Customer(self, f"walk-{secrets.token_hex(8)}@example.org", secrets.token_urlsafe(16))
        # An answer that got lost may have been a 201: then the address is taken, by us.
        self.ask("POST", "/auth/signup", body=customer.credentials, expect=(201, 409))
        customer.log_in()
        return customer

    def log_in(self, email: str, password: str) -> Customer:
        """Log in somebody who is known already."""
        customer = Customer(self, email, password)
        customer.log_in()
        return customer


@dataclass
class Customer:
    """Somebody in the shop."""

    shop: Shop
    email: str
    password: str
    token: str = ""

    @property
    def credentials(self) -> dict[str, str]:
        """What sign-up and log-in take."""
        return {"email": self.email, "password": self.password}

    def log_in(self) -> None:
        """Get a token."""
        self.token = self.shop.ask("POST", "/auth/login", body=self.credentials)["access_token"]

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Ask as this customer."""
        return self.shop.ask(method, path, token=self.token, **options)

    def browse(self, query: str = "") -> list[dict[str, Any]]:
        """List products."""
        suffix = f"?{urlencode({'q': query})}" if query else ""
        items: list[dict[str, Any]] = self.ask("GET", f"/catalog/products{suffix}", name="/catalog/products")["items"]
        return items

    def put_into_cart(self, product_id: str, quantity: int = 1) -> None:
        """Put a product into the cart."""
        path = f"/orders/cart/items/{product_id}"
        self.ask("PUT", path, body={"quantity": quantity}, name="/orders/cart/items/{id}")

    def check_out(self, payment_method: str = "tok_ok", key: str = "") -> dict[str, Any]:
        """Turn the cart into an order; the same key never makes a second one."""
        body = {"payment_method": payment_method}
        order: dict[str, Any] = self.ask("POST", "/orders/checkout", body=body, key=key or str(uuid4()))
        return order

    def order(self, order_id: str) -> dict[str, Any]:
        """Look at an order."""
        found: dict[str, Any] = self.ask("GET", f"/orders/orders/{order_id}", name="/orders/orders/{id}")
        return found

    def await_end(self, order_id: str, seconds: float = 60) -> dict[str, Any]:
        """Return the order once nothing more will become of it."""

        def ended() -> dict[str, Any] | None:
            found = self.order(order_id)
            return found if found["state"] in FINAL else None

        found: dict[str, Any] = self.shop.until(ended, seconds)
        return found

    def buy(self, product_id: str, quantity: int = 1, payment_method: str = "tok_ok") -> dict[str, Any]:
        """Cart, checkout, and the order's end."""
        self.put_into_cart(product_id, quantity)
        return self.await_end(self.check_out(payment_method)["id"])

    def have_computed(self, text: str, seconds: float = 60) -> dict[str, Any]:
        """Hand in one job, and return it once it is done."""
        body = {"kind": "checksum", "payload": {"text": text}}
        job_id = self.ask("POST", "/jobs/api/job", body=body, key=str(uuid4()))["id"]

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.ask("GET", f"/jobs/api/job/{job_id}", name="/jobs/api/job/{id}")
            return found if found["state"] == "done" else None

        found: dict[str, Any] = self.shop.until(done, seconds)
        return found

    def notifications(self) -> list[dict[str, Any]]:
        """What this customer was told."""
        items: list[dict[str, Any]] = self.ask("GET", "/notifications/notifications")["items"]
        return items
