# SPDX-License-Identifier: GPL-3.0-or-later
"""What can't become a release is refused in one clear sentence, and the traffic stays where it was."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots

if TYPE_CHECKING:
    from conftest import Flaw, Service

CHECKOUT = Path(__file__).parents[3]
APP = "catalog/app.py"
CRASH = "the shop has no roof today"
MANAGEMENT = "kit/management.py"
READY, NEVER = "JSONResponse(body, 200 if ok else 503)", "JSONResponse(body, 503)"
ADVICE = "nothing has to be undone: mend the version and release it again"
SOON = {"service_wait_timeout_seconds": 25}
PROMETHEUS = ("v1", "Service", "prometheus", "monitoring")


def selector(catalog: Service) -> dict[str, str]:
    found = catalog.site.cluster.get("v1", "Service", "catalog", "apps")
    assert found is not None
    chosen: dict[str, str] = found["spec"]["selector"]
    return chosen


def answering(catalog: Service) -> tuple[str, str]:
    """Slot and version that answer through the entrance."""
    with urllib.request.urlopen(catalog.url("/info"), timeout=5) as answer:
        body = json.load(answer)
    return body["slot"], body["version"]


@pytest.fixture(autouse=True)
def unmoved(catalog: Service) -> Iterator[None]:
    """Whatever is tried, whoever answered before answers afterwards."""
    before = selector(catalog), catalog.state().history, answering(catalog)
    yield
    assert (selector(catalog), catalog.state().history, answering(catalog)) == before


def test_a_slot_that_there_is_not(catalog: Service) -> None:
    choices = "value of slot must be one of: blue, green, got: purple"
    catalog.refused("rollback", choices, service_rollback_slot="purple")
    catalog.module_refused("blue_green_switch", choices, slot="purple")


def test_a_slot_that_holds_nothing(catalog: Service) -> None:
    empty = catalog.empty()
    nothing = f"slot {empty} of catalog has no Deployment catalog-{empty}"
    catalog.refused("rollback", nothing, service_rollback_slot=empty)
    catalog.module_refused("blue_green_switch", nothing, slot=empty)
    release = "No version of catalog waits for traffic", "playbooks/release.yml -e service=catalog -e version=<version>"
    catalog.refused("promote", *release)


def test_an_image_that_nobody_pushed(catalog: Service) -> None:
    version = f"{catalog.serving()[1]}-nowhere"
    # Pulling and backing off take turns; both say why.
    why = "ErrImagePull", f"opsforge/catalog:{version}: not found", "traffic stays where it is"
    catalog.refused("release", *why, version=version, service_registry_push="", **SOON)


@pytest.mark.thorough
def test_a_version_that_crashes_when_it_starts(catalog: Service, flaw: Flaw) -> None:
    slot, idle = catalog.serving()[0], catalog.idle()
    source = (CHECKOUT / "services" / APP).read_text()
    version = flaw("crash", {APP: f"{source}\n\nraise SystemExit({CRASH!r})\n"})
    said = f"traffic of catalog stays on {slot}", "container catalog: CrashLoopBackOff", "exit code 1", CRASH, ADVICE
    catalog.refused("release", *said, version=version, **SOON)
    catalog.refused("promote", *said, service_gate=False, **SOON)
    catalog.module_refused("blue_green_switch", *said, slot=idle, timeout=25)


@pytest.mark.thorough
def test_a_version_that_never_becomes_ready(catalog: Service, flaw: Flaw) -> None:
    slot = catalog.serving()[0]
    source = (CHECKOUT / "services" / MANAGEMENT).read_text()
    assert READY in source
    version = flaw("unready", {MANAGEMENT: source.replace(READY, NEVER)})
    why = (
        f"Deployment apps/catalog-{catalog.idle()}",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        ADVICE,
    )
    said = f"traffic of catalog stays on {slot}", *why
    catalog.refused("release", *said, version=version, **SOON)


@pytest.fixture
def waiting(catalog: Service) -> str:
    """The idle slot, with another version that has nothing wrong with it."""
    catalog.prepare()
    return catalog.idle()


@pytest.fixture
def blind(catalog: Service, waiting: str) -> Iterator[None]:
    """Nobody answers where Prometheus does."""
    cluster = catalog.site.cluster
    away = "opsforge.dev/away"

    def aim(value: str | None) -> None:
        cluster.patch(*PROMETHEUS, {"spec": {"selector": {away: value}}}, manager="opsforge-test")

    aim("true")
    yield
    aim(None)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("policy", ["fail", "wait"])
def test_nobody_who_could_judge(catalog: Service, waiting: str, policy: str) -> None:
    """The playbooks wait for two minutes before they say so."""
    why = f"slot {waiting} of catalog", "unreachable", "Prometheus (Service monitoring/prometheus:9090)"
    what_to_do = "start Prometheus, or choose another policy unreachable to go without it"
    options = {"when": "before", "unreachable": policy, "timeout": 3, "interval": 1}
    catalog.module_refused("metric_gate", *why, what_to_do, slot=waiting, **options)


@pytest.fixture
def pruned(catalog: Service, waiting: str) -> Iterator[str]:
    """The idle slot, whose version waits, and whose image is gone since: nothing starts pods from it."""
    cluster, where = catalog.site.cluster, ("apps/v1", "Deployment", _slots.deployment("catalog", waiting), "apps")
    live = cluster.get(*where)
    assert live is not None
    containers = live["spec"]["template"]["spec"]["containers"]
    containers[0]["image"] = "registry.opsforge.dev/opsforge/catalog:pruned"
    cluster.patch(*where, {"spec": {"template": {"spec": {"containers": containers}}}}, manager="opsforge-test")
    yield waiting
    catalog.empty()  # a release would not take the image away from whoever wrote it


def test_an_image_that_is_gone_since(catalog: Service, pruned: str) -> None:
    why = f"traffic of catalog stays on {_slots.other(pruned)}", "catalog:pruned: not found", ADVICE
    catalog.refused("promote", *why, service_gate=False, **SOON)
    catalog.module_refused("blue_green_switch", *why, slot=pruned, timeout=25)


@pytest.fixture
def foreign(catalog: Service) -> Iterator[dict[str, str]]:
    """The Service chooses the pods of the slot in use by labels that nobody of us would write."""
    cluster = catalog.site.cluster
    mine = selector(catalog)
    theirs = {"app.kubernetes.io/instance": "catalog", _slots.VERSION_LABEL: catalog.serving()[1]}

    def choose(wanted: dict[str, Any]) -> None:
        body = {"spec": {"selector": {name: None for name in {**mine, **theirs}} | wanted}}
        cluster.patch("v1", "Service", "catalog", "apps", body, manager="opsforge-test")

    choose(theirs)
    yield theirs
    choose(mine)


def test_a_selector_that_somebody_else_wrote(catalog: Service, foreign: dict[str, str]) -> None:
    what_to_do = "set it to app.kubernetes.io/name=catalog,opsforge.dev/slot=<slot> or remove it, then try again"
    said = "the selector of Service catalog is not ours", "nothing was written", what_to_do
    catalog.refused("release", *said, version="9.9.9")
    catalog.refused("promote", *said)
    catalog.refused("rollback", *said)
    catalog.module_refused("blue_green_switch", *said, slot="blue")
    assert selector(catalog) == foreign
