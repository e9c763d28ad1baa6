# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk through the shop with Locust, closed-loop: people who think before they click.

`locust --headless --users 20 --spawn-rate 2 --run-time 2m --host http://127.0.0.1:8080 -f loadtests/locustfile.py`
ends with status 1 if more than 1% failed or the slowest 5% took longer than two seconds.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Locust loads this file by path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from locust import HttpUser, between, events, task  # noqa: E402
from locust.env import Environment  # noqa: E402

from loadtests.walk import Answer, Customer, Refused, Shop  # noqa: E402

FAILED_MAX = 0.01
P95_MAX_MILLISECONDS = 2000


@events.init.add_listener
def refuse_foreign(environment: Environment, **_: Any) -> None:
    """Load goes to this machine only."""
    host = urlsplit(environment.host or "").hostname or ""
    if host != "localhost" and not host.startswith("127.") and host != "::1":
        logging.error("%s is not a loopback address: load is sent to this machine only", environment.host)
        sys.exit(2)


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Turn the thresholds into the exit status."""
    total = environment.stats.total
    slow = total.get_response_time_percentile(0.95) or 0
    if not total.num_requests or total.fail_ratio > FAILED_MAX or slow > P95_MAX_MILLISECONDS:
        logging.error("%d requests, %.2f%% failed, p95 %.0f ms", total.num_requests, total.fail_ratio * 100, slow)
        environment.process_exit_code = 1


class Visitor(HttpUser):
    """One person in the shop."""

    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        """Come in."""
        self.me: Customer = Shop(self.answer, patience=60).sign_up()

    def answer(self, method: str, path: str, *, name: str, headers: Mapping[str, str], body: object | None) -> Answer:
        """Send by Locust's own client, which counts."""
        with self.client.request(
            method, path, name=name, headers=dict(headers), json=body, catch_response=True
        ) as response:
            # Being told to come later is the shop's protection at work.
            if response.status_code == 429:
                response.success()
            try:
                seen = response.json() if response.content else None
            except ValueError:
                seen = response.text
            return Answer(response.status_code, seen, {key.lower(): value for key, value in response.headers.items()})

    @task(6)
    def look_around(self) -> None:
        """Browse, and look at one thing."""
        product = random.choice(self.me.browse())
        self.me.ask("GET", f"/catalog/products/{product['id']}", name="/catalog/products/{id}")

    @task(2)
    def buy(self) -> None:
        """Order and pay."""
        try:
            self.me.buy(random.choice(self.me.browse())["id"])
        except Refused as refused:
            logging.warning("%s", refused)

    @task(1)
    def read(self) -> None:
        """Look into the inbox."""
        self.me.notifications()
