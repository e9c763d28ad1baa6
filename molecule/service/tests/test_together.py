# SPDX-License-Identifier: GPL-3.0-or-later
"""Several services are released as one: all of them or none, callee before caller, and back the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _releases

if TYPE_CHECKING:
    from conftest import Service

NAMES = ["catalog", "orders"]
# Fails for orders and for nobody else, whatever happens: the gate is asked about one service at a time.
ONLY_ORDERS_IS_BAD = {
    "name": "orders_is_bad",
    "query": 'count(label_replace(vector(1), "who", "{service}", "", "") and on (who)'
    ' label_replace(vector(1), "who", "orders", "", "")) or vector(0)',
    "max": 0,
}


@pytest.fixture
def pair(catalog: Service) -> list[Service]:
    return [type(catalog)(catalog.site, name) for name in NAMES]


def serving(pair: list[Service]) -> list[tuple[str, str]]:
    return [service.serving() for service in pair]


def next_versions(pair: list[Service]) -> dict[str, Any]:
    found = {service.name: f"{service.serving()[1].removesuffix('-both')}-both" for service in reversed(pair)}
    return {"versions": found, "service_gate_seconds": 0}


def test_what_is_refused_on_the_way_takes_all_of_them_back(pair: list[Service]) -> None:
    before = serving(pair)
    pair[0].refused(
        "release",
        "orders_is_bad is 1",
        "All of catalog, orders are where they were.",
        **next_versions(pair),
        service_gate_conditions=[ONLY_ORDERS_IS_BAD],
    )
    assert serving(pair) == before
    # Both had moved, so both have a release on record, and its way back.
    for service in pair:
        assert [entry.action for entry in service.state().history[-2:]] == [_releases.RELEASE, _releases.ROLLBACK]


def test_all_of_them_are_released_and_taken_back(pair: list[Service]) -> None:
    before = serving(pair)
    options = next_versions(pair)
    pair[0].done("release", **options, service_gate=False)
    assert dict(zip(NAMES, (version for _, version in serving(pair)), strict=True)) == options["versions"]
    assert {service.state().history[-1].together for service in pair} == {"catalog orders"}
    moved = [service.state().history[-1].time for service in pair]
    assert moved == sorted(moved)
    told = pair[0].site.cluster.list("events.k8s.io/v1", "Event", "apps")
    moves = sorted((event for event in told if event.get("action") == "Switch"), key=lambda event: event["eventTime"])
    notes = {event["regarding"]["name"]: event["note"] for event in moves}
    for service in pair:
        assert f"traffic is on {' '.join(service.serving())} from" in notes[service.name]
    said = pair[0].done("rollback")
    assert "released together with orders, left where they are" in " ".join(said.split())
    assert serving(pair)[0] == before[0] and serving(pair)[1] != before[1]
    pair[1].done("rollback", together=True)
    assert serving(pair) == before


def test_nothing_is_written_for_what_can_not_be_one_release(pair: list[Service]) -> None:
    before = [service.state().resource_version for service in pair]
    for versions in ({"catalog": "9.9.9", "nobody": "1"}, {"catalog": "9.9.9", "orders": "of orders"}):
        pair[0].refused("release", "A joint release takes versions by service", versions=versions)
    assert [service.state().resource_version for service in pair] == before
