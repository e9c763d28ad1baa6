# SPDX-License-Identifier: GPL-3.0-or-later
"""STAND-INS for the catalog and payments services: their HTTP contract, in memory. Service tokens are really verified.

In process they are a transport (`StandIns().transport`), for a real process an HTTP server (`served`).
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx2
import jwt

KEYS = {"catalog": "0123456789abcdef" * 4, "payments": "fedcba9876543210" * 4}

Answer = tuple[int, Any]
Hook = Callable[[str], None]


class Killed(BaseException):
    """The process dies here: nothing catches it, nothing cleans up."""


class StandIns:
    """Both services. `before` and `after` see the name of each operation around its effect and may raise or wait."""

    def __init__(self) -> None:
        self.products: dict[str, dict[str, Any]] = {}
        self.reservations: dict[str, dict[str, Any]] = {}
        self.payments: dict[str, dict[str, Any]] = {}
        self.status = "pending"  # of new payments
        self.calls: Counter[str] = Counter()
        self.effects: Counter[tuple[str, str]] = Counter()
        self.traces: set[tuple[str, str]] = set()  # which request the calls were for, and of which trace
        self.before: Hook = lambda operation: None
        self.after: Hook = lambda operation: None
        self.change: Callable[[str, Answer], Answer] = lambda operation, answer: answer
        self.lock = threading.RLock()
        self.transport = httpx2.MockTransport(self._handle)

    def product(self, *, cents: int = 1000, stock: int = 100) -> str:
        """Put a new product on the shelf; returns its id."""
        product_id = str(uuid4())
        self.products[product_id] = {"name": f"Thing {product_id[:4]}", "cents": cents, "stock": stock}
        return product_id

    def settle(self, order_id: str, status: str, reason: str = "") -> dict[str, Any]:
        """Let the provider decide; returns the data of the event that tells."""
        payment = self.payments[order_id]
        payment |= {"status": status, "reason": reason}
        return {
            key: payment[key] for key in ("order_id", "payment_id", "user_id", "amount_cents", "currency", "reason")
        }

    def away(self, service: str) -> None:
        """Take a service off the network."""

        def refuse(operation: str) -> None:
            if operation.startswith(service):
                raise httpx2.ConnectError("refused")

        self.before = refuse

    def back(self) -> None:
        """Undo every fault."""
        self.before = self.after = lambda operation: None
        self.change = lambda operation, answer: answer

    def answer(self, service: str, method: str, target: str, headers: Any, content: bytes) -> Answer:
        """Answer one request to `service`."""
        problem = self._forbidden(service, headers.get("authorization", ""))
        if problem:
            return problem
        url = urlsplit(target)
        body: Any = json.loads(content) if content else {}
        match [service, method, *url.path.strip("/").split("/")]:
            case ["catalog", "PUT", "reservations", order_id]:
                operation, work = "catalog.reserve", lambda: self._reserve(order_id, body["lines"])
            case ["catalog", "POST", "reservations", order_id, "commit"]:
                operation, work = "catalog.commit", lambda: self._commit(order_id)
            case ["catalog", "DELETE", "reservations", order_id]:
                operation, work = "catalog.release", lambda: self._release(order_id)
            case ["payments", "POST", "initiate"]:
                key = headers.get("idempotency-key", "")
                operation, work = "payments.initiate", lambda: self._initiate(key, body)
            case ["payments", "GET", "status"]:
                order_id = parse_qs(url.query)["order_id"][0]
                operation, work = "payments.status", lambda: self._status(order_id)
            case other:
                raise AssertionError(f"not in the contract: {other}")
        self.before(operation)
        with self.lock:
            self.calls[operation] += 1
            self.traces.add((headers.get("x-request-id", ""), headers.get("traceparent", "")[3:35]))
            answer = self.change(operation, work())
        self.after(operation)
        return answer

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        target = request.url.raw_path.decode()
        status, body = self.answer(request.url.host, request.method, target, request.headers, request.content)
        return httpx2.Response(status) if body is None else httpx2.Response(status, json=body)

    def _forbidden(self, service: str, authorization: str) -> Answer | None:
        try:
            claims = jwt.decode(
                authorization.removeprefix("Bearer "),
                KEYS[service],
                algorithms=["HS256"],
                audience=service,
                options={"require": ["iss", "aud", "iat", "exp"]},
            )
        except jwt.InvalidTokenError as error:
            return 401, {"detail": str(error)}
        return None if claims["iss"] == "orders" else (403, {"detail": "not for you"})

    def _reserve(self, order_id: str, lines: list[dict[str, Any]]) -> Answer:
        UUID(order_id)
        known = self.reservations.get(order_id)
        if known is None:
            if any(line["product_id"] not in self.products for line in lines):
                return 422, {"detail": "There is no such product."}
            if any(line["quantity"] > self.products[line["product_id"]]["stock"] for line in lines):
                return 409, {"detail": "Not enough in stock."}
            for line in lines:
                self.products[line["product_id"]]["stock"] -= line["quantity"]
            known = self.reservations[order_id] = {"state": "reserved", "lines": lines}
            self.effects["reserve", order_id] += 1
        elif known["state"] == "released":
            return 409, {"detail": "This order's reservation was released."}
        elif known["lines"] != lines:
            return 409, {"detail": "This order has reserved something else."}
        priced = [
            line
            | {
                "name": self.products[line["product_id"]]["name"],
                "unit_cents": self.products[line["product_id"]]["cents"],
            }
            for line in lines
        ]
        total = sum(line["quantity"] * line["unit_cents"] for line in priced)
        return 200, {
            "order_id": order_id,
            "state": known["state"],
            "lines": priced,
            "total_cents": total,
            "currency": "EUR",
        }

    def _commit(self, order_id: str) -> Answer:
        known = self.reservations.get(order_id)
        if known is None:
            return 404, {"detail": "There is no such reservation."}
        if known["state"] == "released":
            return 409, {"detail": "This reservation was released."}
        if known["state"] == "reserved":
            known["state"] = "committed"
            self.effects["commit", order_id] += 1
        return 200, {"order_id": order_id, "state": "committed"}

    def _release(self, order_id: str) -> Answer:
        known = self.reservations.setdefault(order_id, {"state": "released", "lines": []})
        if known["state"] == "committed":
            return 409, {"detail": "This reservation was committed."}
        if known["state"] == "reserved":
            known["state"] = "released"
            self.effects["release", order_id] += 1
            for line in known["lines"]:
                self.products[line["product_id"]]["stock"] += line["quantity"]
        return 204, None

    def _initiate(self, key: str, body: dict[str, Any]) -> Answer:
        assert key == body["order_id"], "the order is the idempotency key"
        assert body["method"]
        if body["method"] == "tok_unknown":
            return 422, {"detail": "No such payment method."}
        known = self.payments.get(key)
        if known is None:
            known = self.payments[key] = body | {"payment_id": str(uuid4()), "status": self.status, "reason": ""}
            self.effects["initiate", key] += 1
            return 201, known
        assert all(known[name] == body[name] for name in body), "the same key with another body"
        return 200, known

    def _status(self, order_id: str) -> Answer:
        known = self.payments.get(order_id)
        return (200, known) if known else (404, {"detail": "No such payment."})


@contextmanager
def served(stand_ins: StandIns, service: str) -> Iterator[str]:
    """Serve one of the stand-ins on loopback; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body = stand_ins.answer(service, self.command, self.path, self.headers, content)
            raw = b"" if body is None else json.dumps(body).encode()
            try:
                self.send_response(status)
                if status != 204:
                    self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except ConnectionError:  # whoever asked was killed meanwhile
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
