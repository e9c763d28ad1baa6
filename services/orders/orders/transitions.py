# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of an order as a table: (state, trigger) -> (next state, events to publish). Pure; nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where an order stands."""

    PLACED = "placed"
    RESERVED = "reserved"
    PAYING = "paying"
    PAID = "paid"
    FULFILLED = "fulfilled"
    CANCELLING = "cancelling"
    """Decided against; its stock is still to be let go."""
    CANCELLED = "cancelled"
    REVERSING = "reversing"
    """Paid for, yet it will not be fulfilled; its stock is still to be let go."""
    REFUND_DUE = "refund_due"
    """Money was taken for an order that is not fulfilled: somebody has to give it back."""


class Trigger(StrEnum):
    """What can happen to an order."""

    RESERVED = "reserved"
    RESERVE_REFUSED = "reserve_refused"
    PAY = "pay"
    CAPTURED = "captured"
    PAYMENT_FAILED = "payment_failed"
    COMMITTED = "committed"
    COMMIT_REFUSED = "commit_refused"
    RELEASED = "released"
    CANCEL = "cancel"


class Step(StrEnum):
    """What the driver does for an order that is not finished."""

    RESERVE = "reserve"
    PAY = "pay"
    ASK_PAYMENT = "ask_payment"
    COMMIT = "commit"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Transition:
    """The state that follows, and the events that tell others."""

    to: State
    publish: tuple[str, ...] = ()


PLACED = "order.placed"
PAID = "order.paid"
CANCELLED = "order.cancelled"
REFUND_DUE = "order.refund_due"

STEPS = {
    State.PLACED: Step.RESERVE,
    # Written down before payment is asked for: from there on a cancel is refused, for the money may be gone already.
    State.RESERVED: Step.PAY,
    State.PAYING: Step.ASK_PAYMENT,
    State.PAID: Step.COMMIT,
    State.CANCELLING: Step.RELEASE,
    State.REVERSING: Step.RELEASE,
}
"""The step of every unfinished state. Each may be repeated without harm."""

FINAL = frozenset(State) - STEPS.keys()

TRANSITIONS = {
    (State.PLACED, Trigger.RESERVED): Transition(State.RESERVED),
    (State.PLACED, Trigger.RESERVE_REFUSED): Transition(State.CANCELLING, (CANCELLED,)),
    (State.PLACED, Trigger.CANCEL): Transition(State.CANCELLING, (CANCELLED,)),
    (State.RESERVED, Trigger.PAY): Transition(State.PAYING),
    (State.RESERVED, Trigger.CANCEL): Transition(State.CANCELLING, (CANCELLED,)),
    (State.PAYING, Trigger.CAPTURED): Transition(State.PAID, (PAID,)),
    (State.PAYING, Trigger.PAYMENT_FAILED): Transition(State.CANCELLING, (CANCELLED,)),
    (State.PAID, Trigger.COMMITTED): Transition(State.FULFILLED),
    (State.PAID, Trigger.COMMIT_REFUSED): Transition(State.REVERSING, (CANCELLED,)),
    (State.CANCELLING, Trigger.RELEASED): Transition(State.CANCELLED),
    (State.REVERSING, Trigger.RELEASED): Transition(State.REFUND_DUE, (REFUND_DUE,)),
    # Money that comes when we do not expect it is never dropped.
    (State.PLACED, Trigger.CAPTURED): Transition(State.REVERSING, (CANCELLED,)),
    (State.RESERVED, Trigger.CAPTURED): Transition(State.PAID, (PAID,)),
    (State.CANCELLING, Trigger.CAPTURED): Transition(State.REVERSING),
    (State.CANCELLED, Trigger.CAPTURED): Transition(State.REFUND_DUE, (REFUND_DUE,)),
}
"""Every change there is. A pair that is missing changes nothing: it is late, said twice, or refused."""


def decide(state: State, trigger: Trigger) -> Transition | None:
    """Return what follows, or None when nothing does."""
    return TRANSITIONS.get((state, trigger))
