# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparing two books. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from payments.book.transitions import State
from payments.providers import Charge

Kind = Literal["unknown here", "unknown there", "unheard", "outcome", "amount", "charged twice"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Entry:
    """A payment as the comparison needs it."""

    id: UUID
    order_id: UUID
    state: State
    amount_cents: int
    currency: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing on which the books differ; `charge_id` or `payment_id` is empty where that book has nothing."""

    kind: Kind
    payment_id: str
    order_id: str
    charge_id: str
    ours: str
    theirs: str


def compare(ours: Iterable[Entry], theirs: Iterable[Charge], *, settled_before: datetime) -> list[Difference]:
    """Return every difference. What changed at or after `settled_before` may simply be on its way.

    `ours` has at least the payments of `theirs`, and all those of the period that is looked at.
    """
    entries = {str(entry.id): entry for entry in ours}
    found: list[Difference] = []
    captured: dict[UUID, list[Charge]] = defaultdict(list)
    seen: set[str] = set()
    for charge in theirs:
        seen.add(charge.key)
        entry = entries.get(charge.key)
        if entry is None:
            found.append(Difference("unknown here", "", "", charge.id, "", charge.status))
            continue
        if charge.status == "captured":
            captured[entry.order_id].append(charge)
        if kind := _differs(entry, charge, settled_before):
            found.append(_difference(kind, entry, charge))
    for entry in entries.values():
        asked = entry.state != "created" and entry.updated_at < settled_before
        if asked and str(entry.id) not in seen:
            found.append(_difference("unknown there", entry, None))
    for charges in captured.values():
        found.extend(_difference("charged twice", entries[charge.key], charge) for charge in charges[1:])
    return found


def _differs(entry: Entry, charge: Charge, settled_before: datetime) -> Kind | None:
    if (entry.amount_cents, entry.currency) != (charge.amount_cents, charge.currency):
        return "amount"
    if entry.state in ("captured", "failed"):
        return "outcome" if charge.status != entry.state else None
    late = entry.updated_at < settled_before
    return "unheard" if charge.status != "pending" and late else None


def _difference(kind: Kind, entry: Entry, charge: Charge | None) -> Difference:
    ours = f"{entry.state} {entry.amount_cents} {entry.currency}"
    theirs = f"{charge.status} {charge.amount_cents} {charge.currency}" if charge else ""
    return Difference(kind, str(entry.id), str(entry.order_id), charge.id if charge else "", ours, theirs)
