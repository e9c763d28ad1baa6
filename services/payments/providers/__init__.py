# SPDX-License-Identifier: GPL-3.0-or-later
"""Providers: whoever moves the money. The rest of the service knows only what stands here.

ProviderFailed      no usable answer; the money may have moved all the same
WebhookRefused      a call to our webhook that proves nothing
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

ChargeStatus = Literal["pending", "captured", "failed"]


class ProviderFailed(Exception):
    """The provider gave no usable answer. Whether it charged, only asking again with the same key can tell."""


class WebhookRefused(Exception):
    """A webhook call that proves nothing; `reason` is a word for metrics, the message is fit for the caller."""

    def __init__(self, reason: Literal["malformed", "forged", "expired"], message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge as the provider's books have it; `key` is the idempotency key it was asked with."""

    id: str
    key: str
    status: ChargeStatus
    amount_cents: int
    currency: str
    created_at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """What a genuine webhook call says; `id` is the same each time the provider repeats it."""

    id: str
    charge: Charge


class Provider(Protocol):
    """A payment provider. One that is asked twice with one key must charge once: that is all we rely on."""

    async def charge(self, *, key: str, amount_cents: int, currency: str, method: str) -> Charge:
        """Charge, or return what the key has charged before; raises ProviderFailed."""
        ...

    async def find(self, key: str) -> Charge | None:
        """Return the charge of a key, None when the provider has never heard of it; raises ProviderFailed."""
        ...

    def charges(self, *, since: datetime) -> AsyncIterator[Charge]:
        """List every charge made at or after `since`; raises ProviderFailed."""
        ...

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """Return what a call to our webhook says; raises WebhookRefused for one that the provider didn't make."""
        ...
