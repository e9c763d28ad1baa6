# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure tables: what a report does, when to look again, and what signs a webhook."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from payments.book.transitions import State, Verdict, decide, look_again_seconds, public_status
from payments.providers import ChargeStatus, WebhookRefused
from payments.providers.signatures import check, sign

BODY = b'{"id": "evt_1"}'
SECRET = "0f9d1c7a" * 4
OTHER = "a1b2c3d4" * 4


@pytest.mark.parametrize("state, report", list(product(get_args(State), get_args(ChargeStatus))))
def test_every_report_in_every_state_has_a_verdict_and_ends_are_final(state: State, report: ChargeStatus) -> None:
    verdict = decide(state, report, agrees=True)
    assert verdict in get_args(Verdict)
    if state in ("captured", "failed"):
        assert verdict != "applied"
        assert (verdict == "contradiction") == (report not in (state, "pending"))
    elif report != "pending":
        assert verdict == "applied"
    assert decide(state, report, agrees=False) == "contradiction"


@pytest.mark.parametrize("state, shown", [("created", "pending"), ("pending", "pending"), ("captured", "captured")])
def test_callers_see_three_states(state: State, shown: str) -> None:
    assert public_status(state) == shown


def test_waits_double_up_to_the_cap_and_spread_by_half() -> None:
    waits = [look_again_seconds(asks, base=2, cap=300, chance=0) for asks in range(10)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert look_again_seconds(3, base=2, cap=300, chance=1) == 8
    assert look_again_seconds(10_000, base=2, cap=300, chance=0) == 300


def test_a_signed_body_passes_with_either_secret() -> None:
    header = sign(SECRET, BODY, at=1000)
    check([SECRET], header, BODY, now=1000, tolerance=300)
    check([OTHER, SECRET], header, BODY, now=1300, tolerance=300)
    check([SECRET], header, BODY, now=700, tolerance=300)
    # A provider in the middle of a rotation signs with both.
    both = f"{sign(OTHER, BODY, at=1000)},{header.partition(',')[2]}"
    check([SECRET], both, BODY, now=1000, tolerance=300)


GOOD = sign(SECRET, BODY, at=1000)
MAC = GOOD.partition("v1=")[2]


@pytest.mark.parametrize(
    "header, now, reason",
    [
        ("", 1000, "malformed"),
        ("t=1000", 1000, "malformed"),
        (f"v1={MAC}", 1000, "malformed"),
        (f"t=,v1={MAC}", 1000, "malformed"),
        (f"t=-1000,v1={MAC}", 1000, "malformed"),
        (f"t=1e3,v1={MAC}", 1000, "malformed"),
        (f"t=1000,v1={MAC.upper()}", 1000, "malformed"),
        (f"t=1000,v1={MAC[:-1]}", 1000, "malformed"),
        (f"t=1000,v0={MAC}", 1000, "malformed"),
        (GOOD + "\n", 1000, "malformed"),
        (f"t=1000{',v1=' + MAC:s}" + f",v1={MAC}" * 4, 1000, "malformed"),
        (f"t=\u0661\u0660\u0660\u0660,v1={MAC}", 1000, "malformed"),
        (f"t=1000,v1={'0' * 64}", 1000, "forged"),
        (f"t=1001,v1={MAC}", 1000, "forged"),
        (sign(OTHER, BODY, at=1000), 1000, "forged"),
        (sign(SECRET, BODY + b" ", at=1000), 1000, "forged"),
        (GOOD, 1301, "expired"),
        (GOOD, 699, "expired"),
    ],
)
def test_whatever_proves_nothing_is_refused(header: str, now: int, reason: str) -> None:
    with pytest.raises(WebhookRefused) as refusal:
        check([SECRET], header, BODY, now=now, tolerance=300)
    assert refusal.value.reason == reason
