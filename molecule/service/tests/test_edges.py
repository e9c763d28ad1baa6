# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches whom: every drawn edge is open, and every other one is closed, seen from pods of the services' names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Site

CHECKOUT = Path(__file__).parents[3]
PYTHON = "docker.io/library/python:3.11-slim-bookworm"
MANAGEMENT = 9000
STORES = {"postgresql": 5432, "redis": 6379}

Object = dict[str, Any]
Edge = tuple[str, str]

# Nodes learn of a new pod and its policies within seconds. When a pod reaches everything that it should, it is known;
# what it does not reach then is closed to it.
REACH = """
import json, os, socket, time
from concurrent.futures import ThreadPoolExecutor

def is_open(target, patience):
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection(target[1:], 3).close()
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.5)

wanted, others = json.loads(os.environ["WANTED"]), json.loads(os.environ["OTHERS"])
with ThreadPoolExecutor(40) as pool:
    reached = list(pool.map(lambda target: is_open(target, 60), wanted))
    reached += list(pool.map(lambda target: is_open(target, 0), others))
print(json.dumps([target[0] for target, found in zip(wanted + others, reached) if found]))
"""


def services() -> Object:
    """The entries of the inventory that say who calls whom."""
    shared = yaml.safe_load((CHECKOUT / "group_vars/shared.yml").read_text(encoding="utf-8"))
    found: Object = shared["platform_services_base"]
    return found


def drawn() -> set[Edge]:
    """Caller and what it should reach."""
    edges = set()
    for name, entry in services().items():
        edges |= {(name, callee) for callee in entry.get("calls", [])}
        edges |= {(name, "postgresql")} if entry.get("database") or entry.get("database_of") else set()
        edges |= {(name, "redis")} if entry.get("redis") else set()
    return edges


def places(site: Site) -> dict[str, tuple[str, int]]:
    """Everything that there is to reach, by name: services, the management port of a pod of each, stores."""
    found: dict[str, tuple[str, int]] = {name: (f"{name}.datastores", port) for name, port in STORES.items()}
    for name, entry in services().items():
        pods = site.cluster.list("v1", "Pod", "apps", {"app.kubernetes.io/instance": name})
        running = next(pod["status"]["podIP"] for pod in pods if pod["status"]["phase"] == "Running")
        found[f"{name} management"] = (running, MANAGEMENT)
        if entry.get("strategy") != "worker":
            found[name] = (name, 80)
    return found


def job(site: Site, caller: str, namespace: str, labels: Object, wanted: list[Any], others: list[Any]) -> Object:
    """A pod that tries all places, and ends."""
    env = [{"name": "WANTED", "value": json.dumps(wanted)}, {"name": "OTHERS", "value": json.dumps(others)}]
    template = site.pod(PYTHON, ["python3", "-c", REACH], env=env)
    template["metadata"]["labels"] = labels
    template["spec"]["restartPolicy"] = "Never"
    metadata = {"name": f"{site.name}-{caller}", "namespace": namespace}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"backoffLimit": 0, "template": template},
    }


def answer(site: Site, caller: str, namespace: str) -> list[str]:
    (pod,) = site.cluster.list("v1", "Pod", namespace, {"job-name": f"{site.name}-{caller}"})
    found: list[str] = json.loads(site.cluster.logs(namespace, pod["metadata"]["name"]))
    return found


def probed(site: Site) -> Iterator[Edge]:
    """Every pair that came about, out of all there are."""
    goals = places(site)
    edges = drawn()
    jobs = []
    for caller in services():
        wanted = [[name, *place] for name, place in goals.items() if (caller, name) in edges]
        others = [[name, *place] for name, place in goals.items() if (caller, name) not in edges]
        jobs.append(job(site, caller, "apps", {"app.kubernetes.io/name": caller}, wanted, others))
    site.have(*jobs)
    for caller in services():
        yield from ((caller, name) for name in answer(site, caller, "apps"))


def test_every_drawn_edge_is_open_and_every_other_one_is_closed(site: Site) -> None:
    found = set(probed(site))
    assert found - drawn() == set(), "open, and nobody drew it"
    assert drawn() - found == set(), "drawn, and closed"


def test_monitoring_reaches_the_management_ports_and_nothing_else(site: Site) -> None:
    """Also shows that what was closed above answers somebody."""
    site.open_network("monitoring")
    goals = {name: place for name, place in places(site).items() if name not in STORES}
    wanted = [[name, *place] for name, place in goals.items() if place[1] == MANAGEMENT]
    others = [[name, f"{name}.apps", 80] for name, place in goals.items() if place[1] != MANAGEMENT]
    site.have(job(site, "monitoring", "monitoring", site.labels, wanted, others))
    assert sorted(answer(site, "monitoring", "monitoring")) == sorted(name for name, *_ in wanted)


@pytest.mark.parametrize("store, port", STORES.items())
def test_a_pod_without_a_services_name_reaches_no_store(site: Site, store: str, port: int) -> None:
    """Though it may leave its own side: the stores know who their clients are."""
    site.open_network("apps")
    wanted, others = [["dns", "kube-dns.kube-system", 53]], [[store, f"{store}.datastores", port]]
    site.have(job(site, "stranger", "apps", site.labels, wanted, others))
    assert answer(site, "stranger", "apps") == ["dns"]
