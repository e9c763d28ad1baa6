# SPDX-License-Identifier: GPL-3.0-or-later
"""A canary gets the share that was named, and nobody loses a request when the share begins, changes or ends."""

from __future__ import annotations

import json
import math
import time
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _route, _slots
from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish as Applied
from ansible_collections.opsforge.platform.plugins.module_utils._apply import ensure_present
from ansible_collections.opsforge.platform.plugins.module_utils._canary import ROUTE_MANAGER, Wish
from ansible_collections.opsforge.platform.plugins.module_utils._fields import owned
from ansible_collections.opsforge.platform.plugins.module_utils._shift import Options, Shift
from benchmarks._load import Load, Request

if TYPE_CHECKING:
    from conftest import Service

pytestmark = pytest.mark.thorough
PYTHON = "docker.io/library/python:3.11-slim-bookworm"
# Four times the time between two scrapes.
MEASURE_SECONDS = 60
# Five standard deviations of the share of 10,000 requests are 2 points; the rest is for a moment of measuring.
NEAR = 3
SCALED_OBJECT = ("keda.sh/v1alpha1", "ScaledObject")

# A client inside: 50 new connections a second to the Service, which chooses a pod for each. Counts who answered.
INSIDE = """
import collections, http.client, json, time
seen, start = collections.Counter(), time.monotonic()
for number in range(95 * 50):
    time.sleep(max(0.0, start + number / 50 - time.monotonic()))
    try:
        connection = http.client.HTTPConnection("catalog", timeout=5)
        connection.request("GET", "/info", headers={"Connection": "close"})
        answer = connection.getresponse()
        seen[json.loads(answer.read())["slot"] if answer.status == 200 else answer.status] += 1
        connection.close()
    except Exception as error:
        seen[type(error).__name__] += 1
print(json.dumps(seen))
"""


def shift(catalog: Service, weight: int, *, measure: int = MEASURE_SECONDS, **wish: Any) -> dict[str, Any]:
    """What the module does, and its answer."""
    cluster = catalog.site.cluster
    options = Options(measure=measure if weight else 0)
    return Shift(cluster, "apps", "catalog", options, prometheus=catalog.prometheus()).run(Wish(weight, **wish))


@pytest.fixture
def canary(catalog: Service) -> Iterator[str]:
    """The idle slot with another version, ready for a share; nothing of it is left."""
    catalog.prepare()
    rules = catalog.rules()
    yield catalog.idle()
    shift(catalog, 0)
    assert catalog.rules() == rules
    assert not catalog.state().canary


def more(catalog: Service, count: int, *loads: Load) -> float:
    """Wait until each load has so many further requests answered, and return the moment that they are counted from."""
    start = time.monotonic()

    def is_enough() -> bool:
        return all(load.log.exists() and len(between(load.requests(), start, math.inf)) >= count for load in loads)

    catalog.site.eventually(is_enough)
    assert all(load.is_running for load in loads)
    return start


def between(requests: Iterable[Request], start: float, end: float) -> list[Request]:
    return [request for request in requests if start <= request.due < end]


def percent(requests: list[Request], slot: str) -> float:
    """The share of the requests that a slot answered."""
    return 100 * sum(f'"slot":"{slot}"' in request.body for request in requests) / len(requests)


def lost(requests: Iterable[Request]) -> list[str]:
    return [request.line() for request in requests if request.is_lost]


def test_a_share_is_the_share_that_was_named_and_costs_nobody_a_request(
    catalog: Service, canary: str, tmp_path: Path
) -> None:
    windows = {}
    with Load(catalog.url("/info"), 300, 400, tmp_path / "load") as load:
        more(catalog, 600, load)
        for weight in (20, 50):
            answer = shift(catalog, weight)
            windows[weight] = (time.monotonic() - MEASURE_SECONDS, time.monotonic())
            assert (answer["weight"], answer["by"], answer["approximate"]) == (weight, "route", None)
            assert answer["served_percent"] == pytest.approx(weight, abs=NEAR), answer
            assert answer["samples"] > answer["samples_needed"], answer
        shift(catalog, 0)
        more(catalog, 300, load)  # who still had it then, had it by right
        ended = more(catalog, 1500, load)
    requests = list(load.requests())
    for weight, window in windows.items():
        assert percent(between(requests, *window), canary) == pytest.approx(weight, abs=NEAR)
    assert percent(between(requests, ended, math.inf), canary) == 0
    assert lost(requests) == []


def cookies(catalog: Service) -> dict[str, str]:
    """A newcomer's cookie from each slot."""
    found: dict[str, str] = {}
    for _ in range(200):
        with urllib.request.urlopen(catalog.url("/info"), timeout=5) as answer:
            found[json.load(answer)["slot"]] = answer.headers["Set-Cookie"].partition(";")[0]
        if len(found) == 2:
            break
    return found


def test_who_got_a_version_stays_with_it_while_the_share_changes(catalog: Service, canary: str, tmp_path: Path) -> None:
    stable = _slots.other(canary)
    with ExitStack() as stack:

        def load(name: str, rate: int, headers: dict[str, str] | None = None) -> Load:
            return stack.enter_context(Load(catalog.url("/info"), rate, 400, tmp_path / name, headers))

        newcomers = load("newcomers", 200)
        more(catalog, 400, newcomers)
        assert shift(catalog, 20, measure=0, sticky=True)["sticky"]
        more(catalog, 200, newcomers)
        given = cookies(catalog)
        assert {slot: cookie.partition("=")[0] for slot, cookie in given.items()} == {
            slot: "catalog-slot" for slot in _slots.SLOTS
        }
        regulars = {slot: load(slot, 50, {"Cookie": cookie}) for slot, cookie in given.items()}
        at_20 = more(catalog, 500, *regulars.values())
        changed = time.monotonic()
        shift(catalog, 50, measure=0, sticky=True)
        more(catalog, 200, newcomers)
        at_50 = more(catalog, 500, *regulars.values())
        ending = time.monotonic()
        shift(catalog, 0)
        more(catalog, 200, newcomers)
        ended = more(catalog, 200, *regulars.values())
    seen = list(newcomers.requests())
    # Of 2,000 there are fewer than above, so chance has more room.
    assert percent(between(seen, at_20, changed), canary) == pytest.approx(20, abs=2 * NEAR)
    assert percent(between(seen, at_50, ending), canary) == pytest.approx(50, abs=2 * NEAR)
    for slot, regular in regulars.items():
        theirs = list(regular.requests())
        assert lost(theirs) == []
        assert percent(between(theirs, 0, ending), slot) == 100
        assert percent(between(theirs, ended, math.inf), stable) == 100
    assert lost(seen) == []


@pytest.fixture
def routeless(catalog: Service, canary: str) -> Iterator[str]:
    """The same without a route: only those inside reach it."""
    site = catalog.site
    where = (_route.API_VERSION, _route.KIND, "catalog", "apps")
    route = site.cluster.get(*where)
    assert route is not None
    site.cluster.delete(*where)
    yield canary
    shift(catalog, 0)
    back = {"apiVersion": route["apiVersion"], "kind": route["kind"], **owned(route, ROUTE_MANAGER)}
    back["metadata"] |= {name: route["metadata"][name] for name in ("name", "namespace")}
    ensure_present(site.cluster, [back], Applied(manager=ROUTE_MANAGER))


@contextmanager
def sized(catalog: Service, pods: int) -> Iterator[None]:
    """The autoscaler gives the slot in use so many pods."""
    cluster = catalog.site.cluster
    scaler = cluster.get(*SCALED_OBJECT, "catalog", "apps")
    assert scaler is not None
    names = ("minReplicaCount", "maxReplicaCount")
    before = {name: scaler["spec"][name] for name in names}

    def write(limits: dict[str, int]) -> None:
        cluster.patch(*SCALED_OBJECT, "catalog", "apps", {"spec": limits}, manager="opsforge-service")

    def ready() -> int:
        serving = catalog.state().serving
        return serving.ready if serving else 0

    write(dict.fromkeys(names, pods))
    try:
        catalog.site.eventually(lambda: ready() == pods, 90)
        yield
    finally:
        write(before)


def test_without_a_route_the_pods_are_the_share_and_it_says_how_near_that_is(catalog: Service, routeless: str) -> None:
    site = catalog.site
    script = f"python3 - <<'END'\n{INSIDE}\nEND"
    clients = {"job-name": f"{site.name}-0"}
    with ThreadPoolExecutor(1) as pool:
        with sized(catalog, 1):
            client = pool.submit(site.run, "apps", PYTHON, script, service="orders")
            site.eventually(lambda: any(map(_slots.is_ready, site.cluster.list("v1", "Pod", "apps", clients))))
            answer = shift(catalog, 20, measure=0)
        assert (answer["by"], answer["weight"], answer["approximate"]) == ("replicas", 50, "1 of 2 pods")
        assert answer["warnings"] == ["1 of 2 pods make a share of 50%, not of 20%"]
        with sized(catalog, 3):
            answer = shift(catalog, 25, measure=45)
        assert (answer["steps"], answer["weight"], answer["approximate"]) == ([], 25, "1 of 4 pods")
        assert answer["served_percent"] == pytest.approx(25, abs=2 * NEAR), answer
        assert answer["warnings"] == []
        shift(catalog, 0)
        assert set(json.loads(client.result())) == set(_slots.SLOTS), "somebody got no answer"
