# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is prepared, judged and promoted; a bad one is taken back while people use the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from benchmarks._load import Load

if TYPE_CHECKING:
    from conftest import Service, Spoil

BAD = '    import random\n\n    if random.random() < 0.3:\n        raise RuntimeError("a bad release")\n'


@pytest.fixture
def bad_version(spoil: Spoil) -> str:
    """A version three of ten of whose lists are a 500: the one in use, with a line more."""
    return spoil("bad", BAD)


def test_a_release_waits_when_told_to_and_goes_on_when_promoted(catalog: Service) -> None:
    slot, version = catalog.serving()
    name = f"{version.removesuffix('-waits')}-waits"
    catalog.done("release", version=name, promote=False)
    assert catalog.serving() == (slot, version)
    assert _slots.other(slot) in catalog.state().slots
    catalog.refused("promote", "needs somebody's approval", "release_approved_by", service_approval=True)
    assert catalog.serving() == (slot, version)
    catalog.done("promote", release_approved_by="a colleague", service_gate_seconds=0)
    assert catalog.serving() == (_slots.other(slot), name)
    assert catalog.state().history[-1].approved_by == "a colleague"
    catalog.done("rollback")
    assert catalog.serving() == (slot, version)


@pytest.mark.parametrize("steps", [[], [20]], ids=["all at once", "canary"])
def test_a_bad_release_is_taken_back_by_what_people_see_of_it(
    catalog: Service, people: Load, bad_version: str, steps: list[int]
) -> None:
    before = catalog.serving()
    options = {"service_canary": steps, "service_gate_seconds": 90, "service_gate_unknown": "wait"}
    said = (f"{bad_version} was not released", "error_ratio is ", "more than max 0.01")
    catalog.refused("release", *said, version=bad_version, **options)
    assert catalog.serving() == before
    assert [backend["name"] for backend in catalog.rules()[0]["backendRefs"]] == ["catalog"]
    assert not catalog.state().canary
    failed = [entry for entry in catalog.decisions() if (entry["outcome"], entry["version"]) == ("fail", bad_version)]
    assert {entry["when"] for entry in failed} >= {"during" if steps else "after"}
    (incident,) = catalog.incidents(f"release/catalog/{bad_version}")[-1:]
    assert (incident["state"], incident["intact"]) == ("closed", True)
    opened, *_, closed = incident["entries"]
    assert "error_ratio is " in opened["text"] and f"{before[1]} again" in closed["text"]
    # Only the bad version's own errors: moving the traffic there and back lost nothing.
    assert [request.line() for request in people.requests() if request.status not in {200, 500}] == []


def test_a_plan_writes_nothing(catalog: Service) -> None:
    before = catalog.state().resource_version
    said = catalog.done("release_plan", version="9.9.9")
    assert "Version 9.9.9 goes to slot" in said and "changed=0" in said
    assert catalog.state().resource_version == before
