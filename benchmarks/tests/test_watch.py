# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told of a fault, and which pages beside its own are counted against it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import cast

import pytest

from benchmarks._faults import SRE, Fault
from benchmarks._pager import Notification, Pager
from benchmarks._watch import FIRING, RESOLVED, NotToldError, Watch

NODE_GONE = Fault(
    "node_gone", "NodeGone", {"node": "one"}, SRE, 1, 1, lambda _: contextlib.nullcontext(0.0), frozenset({"Down"})
)

LATER, EARLIER = "9999-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


@dataclass
class Heard:
    """A pager that heard this."""

    told: list[Notification] = field(default_factory=list)

    def heard(self) -> list[Notification]:
        return self.told

    def notifications(self, begin: int) -> list[Notification]:
        return self.told[begin:]


def page(
    name: str,
    status: str = FIRING,
    severity: str = "critical",
    receiver: str = "sre",
    since: str = LATER,
    **labels: str,
) -> Notification:
    return Notification(receiver, 0, status, {"alertname": name, "severity": severity, **labels}, since)


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        (page("NodeGone", node="one"), False),
        (page("NodeGone", node="two"), True),
        (page("Down", service="auth"), False),
        (page("Down", service="auth", node="one"), True),
        (page("Other"), True),
        (page("Other", severity="warning"), False),
        (page("Other", status=RESOLVED), False),
        (page("Other", receiver="deadman"), False),
        (page("Other", receiver="usual-sre"), False),
        (page("Other", since=EARLIER), False),
    ],
)
def test_one_fault_is_one_page(told: Notification, counted: bool) -> None:
    heard = Heard([page("Other")])
    watch = Watch(cast(Pager, heard))
    heard.told.append(told)
    assert watch.needless(NODE_GONE) == ([told] if counted else [])


def test_each_alertmanager_has_its_own_receivers_and_the_dead_man_is_nobodys() -> None:
    heard = Heard()
    ours, theirs = Watch(cast(Pager, heard)), Watch(cast(Pager, heard), "usual-")
    receivers = ["usual-api", "api", "deadman", "usual-deadman", "sre"]
    heard.told += [page("NodeGone", receiver=name, node="one") for name in receivers]
    assert [one.receiver for one in ours.told(NODE_GONE, FIRING)] == ["api", "sre"]
    assert [one.receiver for one in theirs.told(NODE_GONE, FIRING)] == ["usual-api"]


def test_the_end_of_an_earlier_alert_is_not_the_end_of_this_one() -> None:
    heard = Heard()
    watch = Watch(cast(Pager, heard))
    heard.told.append(page("NodeGone", RESOLVED, since=EARLIER, node="one"))
    assert watch.told(NODE_GONE, RESOLVED) == []


def test_who_was_not_told_is_named() -> None:
    heard = Heard()
    watch = Watch(cast(Pager, heard), "usual-")
    heard.told.append(page("NodeGone", node="one"))
    with pytest.raises(NotToldError, match="usual-sre not told within 0 s that NodeGone is firing"):
        watch.wait(NODE_GONE, FIRING, 0)
    heard.told.append(page("NodeGone", receiver="usual-sre", node="one"))
    assert watch.wait(NODE_GONE, FIRING, 0) == heard.told[1:]
