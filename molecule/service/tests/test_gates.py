# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of gate catches its kind of bad release. Errors, at once and as a canary, are test_delivery.py's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks._load import Load

if TYPE_CHECKING:
    from conftest import Flaw, Service, Spoil

pytestmark = pytest.mark.thorough
CHECKOUT = Path(__file__).parents[3]
APP = "catalog/app.py"
SLOW = "    import asyncio\n    import random\n\n    await asyncio.sleep(1.5 * (random.random() < 0.1))\n"
BAD = '    raise RuntimeError("a bad release")\n'
# It ends once, some time after its first start: what the container writes to /tmp outlives it.
RESTARTS = """

def _end_once() -> None:
    import os
    import pathlib
    import threading

    mark = pathlib.Path("/tmp/ended")
    if not mark.exists():
        mark.touch()
        threading.Timer(12, os._exit, (1,)).start()


_end_once()
"""


def test_a_slow_release_is_taken_back_and_nobody_loses_an_answer(catalog: Service, people: Load, spoil: Spoil) -> None:
    before = catalog.serving()
    options = {"version": spoil("slow", SLOW), "service_gate_seconds": 90, "service_gate_unknown": "wait"}
    catalog.refused("release", f"{options['version']} was not released", "latency_p99_seconds is ", **options)
    assert catalog.serving() == before
    assert {request.status for request in people.requests()} == {200}


def test_a_version_that_restarts_gets_no_traffic(catalog: Service, flaw: Flaw) -> None:
    before = catalog.state()
    version = flaw("restarts", {APP: (CHECKOUT / "services" / APP).read_text() + RESTARTS})
    catalog.done("release", version=version, promote=False)
    idle = catalog.idle()

    prometheus = catalog.prometheus()
    pods = f'namespace="apps",pod=~"catalog-{idle}-.+"'
    seen = f"min(increase(kube_pod_container_status_restarts_total{{{pods}}}[1m]))"
    ready = f"min(kube_pod_container_status_ready{{{pods}}})"
    catalog.site.eventually(lambda: (prometheus.ask(seen) or 0) > 0 and (prometheus.ask(ready) or 0) > 0, 120)
    catalog.refused("promote", "does not pass the gate before the switch: restarts is ", "repair that version")
    after = catalog.state()
    assert (after.active, after.history) == (before.active, before.history)
    assert [entry["slot"] for entry in catalog.decisions() if entry["name"] == "restarts"][-1] == idle


def test_a_spent_budget_refuses_until_somebody_answers_for_it(catalog: Service, people: Load, spoil: Spoil) -> None:
    before = catalog.serving()
    catalog.done("release", version=spoil("bad", BAD), service_gate=False)
    failed = [request for request in people.requests() if request.status == 500]
    assert failed
    catalog.done("rollback")
    assert catalog.serving() == before
    waits = {"version": f"{before[1].removesuffix('-waits')}-waits", "service_gate_budget": True}
    catalog.refused("release", "error_budget_spent_percent is ", **waits, service_gate_seconds=0)
    assert catalog.serving() == before
    reason = "it mends what spent the budget"
    catalog.done("promote", **waits, override_by="a colleague", override_reason=reason, service_gate_seconds=0)
    assert catalog.serving()[1] == waits["version"]
    overridden = [entry for entry in catalog.decisions() if entry["override_by"]]
    assert (overridden[-1]["override_by"], overridden[-1]["override_reason"]) == ("a colleague", reason)
    catalog.done("rollback")
    assert catalog.serving() == before
