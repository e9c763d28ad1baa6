# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to happen to the keys now. Pure: the keyring reads, decides here, and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from auth.keys.models import ACTIVE, NEXT, RETIRING, SigningKey


@dataclass(frozen=True, slots=True)
class Plan:
    """Kids to retire, to promote and to forget, and which keys to make. Retire before promoting."""

    forget: tuple[str, ...] = ()
    retire: str | None = None
    promote: str | None = None
    make_first: bool = False
    make_next: bool = False

    def __bool__(self) -> bool:
        return self != Plan()


def plan(keys: Sequence[SigningKey], *, now: datetime, max_age: timedelta, settle: timedelta, rotate: bool) -> Plan:
    """Decide. Rotates when asked to, or when the active key is older than `max_age`.

    Never before the next key has been published for `settle`: by then every verifier has it, or has last fetched the
    keys so long ago that it may fetch them again.
    """
    active, following = (_of(keys, state) for state in (ACTIVE, NEXT))
    forget = tuple(key.kid for key in keys if key.state == RETIRING and key.ends_at and key.ends_at <= now)
    if active is None:
        promote = following.kid if following else None
        return Plan(forget, promote=promote, make_first=promote is None, make_next=True)
    if following is None:
        return Plan(forget, make_next=True)
    if (rotate or now - active.state_since >= max_age) and now - following.state_since >= settle:
        return Plan(forget, retire=active.kid, promote=following.kid, make_next=True)
    return Plan(forget)


def _of(keys: Sequence[SigningKey], state: str) -> SigningKey | None:
    return next((key for key in keys if key.state == state), None)
