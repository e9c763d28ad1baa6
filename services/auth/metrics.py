# SPDX-License-Identifier: GPL-3.0-or-later
"""What the business of auth is measured by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from auth.keys.models import ACTIVE, NEXT, RETIRING
from auth.keys.ring import Keyring
from kit import Problem


class Metrics:
    """Counters of what users do, gauges of the keys."""

    def __init__(self, registry: CollectorRegistry, keyring: Keyring) -> None:
        self.sign_ups = Counter("auth_signups", "Users who signed up.", registry=registry)
        self.log_ins = Counter(
            "auth_logins", "Log-ins: ok, wrong, locked, limited, busy, error.", ["outcome"], registry=registry
        )
        self.refreshes = Counter(
            "auth_refreshes", "Refreshes: ok, again, reused, refused.", ["outcome"], registry=registry
        )
        self.log_outs = Counter("auth_logouts", "Sessions ended by their owner.", registry=registry)
        self.lockouts = Counter("auth_lockouts", "Wrong passwords that locked.", registry=registry)
        age = Gauge("auth_signing_key_age_seconds", "For how long the active key has been signing.", registry=registry)
        age.set_function(keyring.age)
        keys = Gauge("auth_signing_keys", "Published keys.", ["state"], registry=registry)
        for state in (NEXT, ACTIVE, RETIRING):
            keys.labels(state).set_function(partial(keyring.count, state))
        for outcome in ("ok", "wrong", "locked", "limited", "busy", "error"):
            self.log_ins.labels(outcome)
        for outcome in ("ok", "again", "reused", "refused"):
            self.refreshes.labels(outcome)

    @contextmanager
    def count_log_in(self) -> Iterator[None]:
        """Count one log-in by how it ends."""
        outcome = "error"
        try:
            yield
            outcome = "ok"
        except Problem as problem:
            outcome = getattr(problem, "outcome", outcome)
            raise
        finally:
            self.log_ins.labels(outcome).inc()
