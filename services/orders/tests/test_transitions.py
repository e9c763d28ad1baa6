# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machine alone: every pair of state and trigger, and random lives of an order in a small model world."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orders.orders.transitions import FINAL, STEPS, State, Step, Transition, Trigger, decide

CHANGES = """
placed      reserved         reserved
placed      reserve_refused  cancelling  order.cancelled
placed      cancel           cancelling  order.cancelled
placed      captured         reversing   order.cancelled
reserved    pay              paying
reserved    cancel           cancelling  order.cancelled
reserved    captured         paid        order.paid
paying      captured         paid        order.paid
paying      payment_failed   cancelling  order.cancelled
paid        committed        fulfilled
paid        commit_refused   reversing   order.cancelled
cancelling  released         cancelled
cancelling  captured         reversing
cancelled   captured         refund_due  order.refund_due
reversing   released         refund_due  order.refund_due
"""
EXPECTED = {
    (State(before), Trigger(trigger)): Transition(State(after), tuple(publish))
    for before, trigger, after, *publish in (line.split() for line in CHANGES.split("\n") if line)
}


@pytest.mark.parametrize(("state", "trigger"), list(product(State, Trigger)))
def test_every_pair(state: State, trigger: Trigger) -> None:
    assert decide(state, trigger) == EXPECTED.get((state, trigger))


def test_a_finished_order_has_no_step_and_every_other_has_one() -> None:
    assert {State.FULFILLED, State.CANCELLED, State.REFUND_DUE} == FINAL
    assert STEPS.keys() == set(State) - FINAL


@pytest.mark.parametrize("state", [State.PAYING, State.PAID, State.FULFILLED, State.REVERSING, State.REFUND_DUE])
def test_once_payment_has_begun_a_cancel_does_nothing(state: State) -> None:
    assert decide(state, Trigger.CANCEL) is None


@pytest.mark.parametrize("state", [state for state in State if state not in {State.PAID, State.FULFILLED}])
def test_money_leads_to_goods_or_a_refund_from_wherever_it_comes(state: State) -> None:
    after = decide(state, Trigger.CAPTURED)
    reached = after.to if after else state
    assert reached in {State.PAID, State.REVERSING, State.REFUND_DUE}


class Lives(RuleBasedStateMachine):
    """An order, a catalog and a payment provider. Any call may have its effect and its answer be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.PLACED
        self.published = ["order.placed"]
        self.stock = "free"  # free, held, sold, released
        self.payment = "none"  # none, pending, captured, failed
        self.charges = 0
        self.said: list[Trigger] = []  # events of payments that may arrive, in any order and number
        self.catalog_refuses = False
        self.commit_refused = False

    def happen(self, trigger: Trigger) -> None:
        if transition := decide(self.state, trigger):
            assert self.state not in FINAL or transition.to is State.REFUND_DUE
            self.state = transition.to
            self.published += transition.publish

    def call(self) -> Trigger | None:
        """Do what the step does outside; return what the answer means."""
        match STEPS[self.state]:
            case Step.RESERVE:
                if self.catalog_refuses or self.stock == "released":
                    return Trigger.RESERVE_REFUSED
                self.stock = "held"
                return Trigger.RESERVED
            case Step.PAY:
                return Trigger.PAY
            case Step.ASK_PAYMENT:
                if self.payment == "none":
                    self.payment = "pending"
                return {"captured": Trigger.CAPTURED, "failed": Trigger.PAYMENT_FAILED}.get(self.payment)
            case Step.COMMIT:
                if self.commit_refused or self.stock == "released":
                    return Trigger.COMMIT_REFUSED
                self.stock = "sold"
                return Trigger.COMMITTED
            case Step.RELEASE:
                assert self.stock != "sold", "released after it was sold"
                self.stock = "released"
                return Trigger.RELEASED

    @rule(answer_lost=st.booleans())
    def step(self, answer_lost: bool) -> None:
        if self.state not in FINAL:
            trigger = self.call()
            if trigger and not answer_lost:
                self.happen(trigger)

    @rule(captured=st.booleans())
    def provider_decides(self, captured: bool) -> None:
        if self.payment == "pending":
            self.payment = "captured" if captured else "failed"
            self.charges += captured
            self.said.append(Trigger.CAPTURED if captured else Trigger.PAYMENT_FAILED)

    @rule()
    def provider_changes_its_mind(self) -> None:
        if self.payment == "failed":
            self.payment = "captured"
            self.charges += 1
            self.said.append(Trigger.CAPTURED)

    @rule(data=st.data())
    def event_arrives(self, data: st.DataObject) -> None:
        if self.said:
            self.happen(data.draw(st.sampled_from(self.said)))

    @rule()
    def user_cancels(self) -> None:
        self.happen(Trigger.CANCEL)

    @rule()
    def stock_runs_out(self) -> None:
        if self.stock == "free":
            self.catalog_refuses = True

    @rule()
    def catalog_loses_the_reservation(self) -> None:
        if self.stock == "held":
            self.commit_refused = True

    @invariant()
    def never_charged_twice(self) -> None:
        assert self.charges <= 1

    @invariant()
    def each_event_at_most_once(self) -> None:
        assert len(set(self.published)) == len(self.published)

    @invariant()
    def nothing_is_paid_for_that_was_given_up_before_payment_began(self) -> None:
        if self.payment == "none":
            assert self.state not in {State.PAID, State.FULFILLED, State.REVERSING, State.REFUND_DUE}

    def teardown(self) -> None:
        """Let everything answer from now on: the order comes to the right end, in few steps."""
        for _ in range(10):
            if self.state not in FINAL:
                trigger = self.call()
                if trigger:
                    self.happen(trigger)
                self.provider_decides(captured=True)
        for trigger in self.said:
            self.happen(trigger)
        for _ in range(3):
            if self.state not in FINAL and (trigger := self.call()):
                self.happen(trigger)
        assert self.state in FINAL
        if self.payment == "captured":
            assert self.state in {State.FULFILLED, State.REFUND_DUE}
        else:
            assert self.state is State.CANCELLED
        assert self.stock == ("sold" if self.state is State.FULFILLED else "released")


TestLives = Lives.TestCase
