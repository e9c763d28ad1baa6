# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of jobs there are. A new one is a function with a payload model, and a line here."""

from __future__ import annotations

from jobs.kinds import drills, numbers, reports
from jobs.kinds.kind import LANES, Kind

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("sales_report", reports.Sales, reports.sales_report),
        Kind("checksum", numbers.Content, numbers.checksum),
        Kind("primes", numbers.Below, numbers.primes),
        Kind("tally", drills.Tally, drills.tally, effect=drills.add_tallies, drill=True),
        Kind("sleep", drills.Sleep, drills.sleep, drill=True),
        Kind("flaky", drills.Flaky, drills.flaky, drill=True),
        Kind("poison", drills.Poison, drills.poison, drill=True),
    )
}

__all__ = ["KINDS", "LANES", "Kind"]
