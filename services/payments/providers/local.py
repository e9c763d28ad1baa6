# SPDX-License-Identifier: GPL-3.0-or-later
"""STAND-IN. A provider that moves no money and keeps its own books, told by the method how to behave:

    tok_ok          captures at once and calls back
    tok_declined    fails at once and calls back; so does any method it doesn't know
    tok_slow        answers after `local_slow_seconds`, captures then, calls back
    tok_error       captures, but its first three answers are lost; calls back after that
    tok_twice       captures at once and calls back twice, with the same event
    tok_silent      answers pending, captures after `local_slow_seconds`, never calls back

`local_latency_seconds` and `local_failure_share` trouble every question, for drills. Callbacks are real HTTP, signed
like a real provider's, repeated with growing waits, and read from the ledger, so that a restart forgets none.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated

import httpx2
import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from kit.database import Database
from payments.providers import Charge, ChargeStatus, ProviderEvent, ProviderFailed, WebhookRefused
from payments.providers.local_ledger import ERRORS, Ledger, LocalCharge
from payments.providers.signatures import HEADER, check, sign
from payments.settings import Settings

log = structlog.get_logger("payments.local")

_BATCH = 20
_CALLS = 50  # then it gives up, as real ones do: reconciliation finds the rest
_IDLE_SECONDS = 0.5
_LEASE_SECONDS = 15
_CALL_TIMEOUT_SECONDS = 5

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]


class _ChargeBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: _Name
    key: _Name
    status: ChargeStatus
    amount_cents: int = Field(ge=0, le=2**53)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    created_at: AwareDatetime
    reason: str = Field(default="", pattern=r"^[^\x00]{0,200}$")


class _EventBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: _Name
    charge: _ChargeBody


class LocalProvider:
    """The stand-in; `run` makes its callbacks and belongs in the background of an app."""

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._chance = chance
        # Connections of its own: it isn't part of us.
        self._database = Database(settings.model_copy(update={"database_pool": 2, "service": "local-provider"}))
        self._ledger = Ledger(self._database)
        self._http = httpx2.AsyncClient(
            transport=transport,
            timeout=_CALL_TIMEOUT_SECONDS,
            trust_env=False,
            verify=settings.webhook_url.startswith(
                "https:"
            ),  # certificates take some MB, which plain HTTP has no use for
        )

    async def charge(self, *, key: str, amount_cents: int, currency: str, method: str) -> Charge:
        """Charge, or return what the key has charged before."""
        late = method in ("tok_slow", "tok_silent")
        lost = await self._trouble()
        await self._ledger.enter(
            key=key,
            amount_cents=amount_cents,
            currency=currency,
            method=method,
            settle_seconds=self._settings.local_slow_seconds if late else 0,
            callbacks={"tok_silent": 0, "tok_twice": 2}.get(method, 1),
        )
        if method == "tok_slow":
            await asyncio.sleep(self._settings.local_slow_seconds)
        charge = await self._look(key)
        if lost or charge is None:
            raise ProviderFailed("the answer was lost")
        if (charge.amount_cents, charge.currency) != (amount_cents, currency):
            raise ProviderFailed("this key came with another amount before")
        return charge

    async def find(self, key: str) -> Charge | None:
        """Return the charge of a key."""
        if await self._trouble():
            raise ProviderFailed("the answer was lost")
        return await self._look(key)

    def charges(self, *, since: datetime) -> AsyncIterator[Charge]:
        """List every charge made at or after `since`."""
        return self._ledger.list(since)

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """Return what a signed call says."""
        check(
            self._settings.webhook_secrets,
            headers.get(HEADER, ""),
            body,
            now=self._clock(),
            tolerance=self._settings.webhook_tolerance_seconds,
        )
        try:
            event = _EventBody.model_validate_json(body)
        except ValidationError:
            raise WebhookRefused("malformed", "The body is not an event of this provider.") from None
        return ProviderEvent(event.id, Charge(**event.charge.model_dump()))

    async def run(self) -> None:
        """Make callbacks until cancelled."""
        while True:
            if not await self.call_back():
                await asyncio.sleep(_IDLE_SECONDS)

    async def call_back(self) -> int:
        """Make every callback that is due; returns how many."""
        due = await self._ledger.claim_callbacks(limit=_BATCH, lease_seconds=_LEASE_SECONDS)
        await asyncio.gather(*map(self._call, due))
        return len(due)

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()
        await self._database.close()

    async def _trouble(self) -> bool:
        """Be as slow as told; fail before anything happened, or return True: then the answer shall be lost."""
        await asyncio.sleep(self._settings.local_latency_seconds)
        if self._chance() >= self._settings.local_failure_share:
            return False
        if self._chance() < 0.5:
            raise ProviderFailed("out of order")
        return True

    async def _look(self, key: str) -> Charge | None:
        found = await self._ledger.look(key)
        if found is None:
            return None
        charge, now = found
        if charge.method == "tok_error" and charge.asks <= ERRORS:
            raise ProviderFailed("the answer was lost")
        return charge.shown(now)

    async def _call(self, charge: LocalCharge) -> None:
        body = event_body(charge.shown(charge.settles_at))
        signature = sign(self._settings.webhook_secret.get_secret_value(), body, at=int(self._clock()))
        headers = {HEADER: signature, "content-type": "application/json"}
        try:
            answer = await self._http.post(self._settings.webhook_url, content=body, headers=headers)
            heard = answer.is_success
        except httpx2.HTTPError as error:
            log.info("callback not delivered", charge=charge.id, error=type(error).__name__)
            heard = False
        if heard or charge.calls >= _CALLS:
            await self._ledger.called(charge, left=charge.callbacks - 1, wait_seconds=0)
        else:
            await self._ledger.called(charge, left=charge.callbacks, wait_seconds=min(60, 0.5 * 2**charge.calls))


def event_body(charge: Charge, *, event_id: str = "") -> bytes:
    """Write the body of the callback about a charge: the same bytes each time."""
    shown = {
        "id": charge.id,
        "key": charge.key,
        "status": charge.status,
        "amount_cents": charge.amount_cents,
        "currency": charge.currency,
        "created_at": charge.created_at.astimezone(UTC).isoformat(),
        "reason": charge.reason,
    }
    return json.dumps({"id": event_id or f"evt_{charge.id}", "charge": shown}).encode()
