# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers of the limits, worked out once from the settings."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta

from auth.derive import derive
from auth.settings import Settings

FORGET = timedelta(hours=24)
"""A lock-out that ended so long ago is forgotten: the next wrong password is the first one."""


@dataclass(frozen=True, slots=True)
class Pace:
    """So many at once and as many in each `per`; 0: any number. `gap` and `slack` are what a Rate is counted with."""

    number: int
    per: timedelta

    @property
    def gap(self) -> timedelta:
        """How much of the future one attempt takes."""
        return self.per / self.number if self.number else timedelta()

    @property
    def slack(self) -> timedelta:
        """How far ahead somebody may be."""
        return self.per - self.gap


class Rules:
    """Paces, delays, and the keys that counters have."""

    def __init__(self, settings: Settings) -> None:
        self._secret = derive(settings.signing_secret.get_secret_value(), "opsforge auth limits v1")
        self.sign_ups = Pace(settings.client_signups_per_minute, timedelta(minutes=1))
        self.log_ins = Pace(settings.client_logins_per_minute, timedelta(minutes=1))
        self.strangers = Pace(settings.account_logins_per_hour, timedelta(hours=1))
        self.delays = delays(
            settings.lockout_failures, first=settings.lockout_seconds, longest=settings.lockout_max_seconds
        )

    def key(self, *parts: str) -> bytes:
        """Return a counter's key: a keyed digest, the same on every replica."""
        return hmac.digest(self._secret, "\0".join(parts).encode(), "sha256")[:16]


def delays(failures: int, *, first: float, longest: float) -> list[float]:
    """Return how many seconds to refuse after the first, second, ... wrong password; the last one is for all others."""
    found = [0.0] * (failures - 1)
    delay = first
    while delay < longest:
        found.append(delay)
        delay *= 2
    return [*found, longest]
