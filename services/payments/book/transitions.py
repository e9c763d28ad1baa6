# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report of the provider does to a payment. Pure: webhook, driver and request all ask here.

created ──► pending ──► captured        created: written down; the provider may not know of it yet
   │           └──────► failed          pending: the provider has it and hasn't decided
   └──────────────────► either          captured, failed: final, whoever says otherwise later
"""

from __future__ import annotations

from typing import Literal

from payments.providers import ChargeStatus

State = Literal["created", "pending", "captured", "failed"]
Verdict = Literal["applied", "known", "stale", "contradiction"]

UNFINISHED: tuple[State, ...] = ("created", "pending")

_VERDICTS: dict[tuple[State, ChargeStatus], Verdict] = {
    ("created", "pending"): "applied",
    ("created", "captured"): "applied",
    ("created", "failed"): "applied",
    ("pending", "pending"): "known",
    ("pending", "captured"): "applied",
    ("pending", "failed"): "applied",
    ("captured", "pending"): "stale",
    ("captured", "captured"): "known",
    ("captured", "failed"): "contradiction",
    ("failed", "pending"): "stale",
    ("failed", "captured"): "contradiction",
    ("failed", "failed"): "known",
}


def decide(state: State, reported: ChargeStatus, *, agrees: bool) -> Verdict:
    """Say what to do with a report: apply it, or leave the payment as it is because of one of the other verdicts.

    `agrees`: the report is about our amount and currency. A contradiction is for a person: nothing is applied.
    """
    return _VERDICTS[state, reported] if agrees else "contradiction"


def public_status(state: State) -> ChargeStatus:
    """Return the state as callers see it: what happened before the provider answered is our own business."""
    return "pending" if state == "created" else state


def look_again_seconds(asks: int, *, base: float, cap: float, chance: float) -> float:
    """Return how long to wait before the provider is asked again, after `asks` times without an end.

    Doubles from `base` to `cap` seconds; `chance` (0 to 1) takes up to half off, so that a herd spreads out.
    """
    return float(min(cap, base * 2 ** min(asks, 30)) * (1 - chance / 2))
