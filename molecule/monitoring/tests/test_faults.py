# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault that people are woken for: its alert fires, whom it concerns is told once and in time, and it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from benchmarks._faults import FAULTS, Fault, Stage, enter, prometheus_gone
from benchmarks._pager import Pager, pager
from benchmarks._watch import FIRING, RESOLVED, Watch, moment, pages_to

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.thorough

HOPE_SECONDS = 20


@dataclass(frozen=True)
class Watched:
    """The platform, and the stand-in for people's pagers that its alerts come to."""

    stage: Stage
    pager: Pager


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    stage = enter(os.environ.get("OPSFORGE_PLATFORM", "opsforge"), tmp_path_factory.mktemp("faults"))
    with (
        pager(stage.cluster, stage.image) as heard,
        pages_to(stage, heard, monitoring_deadman_interval=f"{HOPE_SECONDS}s"),
    ):
        yield Watched(stage, heard)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_who_it_concerns_is_told_once_and_in_time(watched: Watched, fault: Fault) -> None:
    watch = Watch(watched.pager)
    with fault.inject(watched.stage) as began:
        told = watch.wait(fault, FIRING, fault.fires_within)
        assert max(moment(one.since) for one in told) - began <= fault.fires_within
    watch.wait(fault, RESOLVED, fault.ends_within)
    assert sorted(one.receiver for one in watch.told(fault, FIRING)) == sorted(fault.receivers)
    assert [one.labels for one in watch.needless(fault)] == []


def test_silence_tells_that_nobody_watches(site: Site, watched: Watched) -> None:
    """The listener of the dead man's switch hears from it all the time, until nobody evaluates rules any more."""

    def hopes(seconds: float) -> int:
        begin = len(watched.pager.heard())
        time.sleep(seconds)
        heard = watched.pager.notifications(begin)
        return sum(one.receiver == "deadman" and one.status == FIRING for one in heard)

    # An Alertmanager that has just started is told within a minute or two.
    site.eventually(lambda: hopes(HOPE_SECONDS), 150)
    assert hopes(4 * HOPE_SECONDS) >= 3
    with prometheus_gone(watched.stage):
        # What Alertmanager was told last holds for four minutes, so that a restart of Prometheus ends no alert.
        site.eventually(lambda: hopes(4 * HOPE_SECONDS) == 0, 400)
    site.eventually(lambda: hopes(HOPE_SECONDS), 150)
    assert hopes(4 * HOPE_SECONDS) >= 3
