# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is prepared, judged and promoted; a bad one is taken back while people use the service."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from benchmarks._load import Load

if TYPE_CHECKING:
    from conftest import Site

CHECKOUT = Path(__file__).parents[3]
HTTP_NODE_PORT = 30080
ROUTES = "catalog/products/routes.py"
GOOD = "    words = search.clean(q)\n"
BAD = '    import random\n\n    if random.random() < 0.3:\n        raise RuntimeError("a bad release")\n' + GOOD


def play(name: str, **extra: Any) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("ansible-playbook"), CHECKOUT / "playbooks" / f"{name}.yml"]
    env = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    words = json.dumps({"service": "catalog", **extra})
    return subprocess.run([*command, "-e", words], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)


def done(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]


def refused(run: subprocess.CompletedProcess[str], *words: str) -> None:
    said = " ".join(run.stdout.split())
    assert run.returncode != 0, said[-2000:]
    for word in words:
        assert word in said, said[-3000:]


def state(site: Site) -> _slots.State:
    return _slots.read(site.cluster, "apps", "catalog")


def serving(site: Site) -> tuple[str, str]:
    slot = state(site).serving
    assert slot is not None
    return slot.name, slot.version


def rules(site: Site) -> Any:
    route = site.cluster.get("gateway.networking.k8s.io/v1", "HTTPRoute", "catalog", "apps")
    assert route is not None
    return route["spec"]["rules"]


def decisions(site: Site) -> list[dict[str, Any]]:
    found = site.cluster.get("v1", "ConfigMap", "catalog-decisions", "apps")
    assert found is not None
    return [json.loads(line) for line in found["data"]["decisions"].splitlines()]


@pytest.fixture
def bad_version(site: Site) -> Iterator[str]:
    """A version three of ten of whose lists are a 500: the one in use, with a line more."""
    _, version = serving(site)
    port = ["docker", "port", f"{site.platform}-registry", "5000/tcp"]
    registry = subprocess.run(port, check=True, capture_output=True, text=True).stdout.split()[0]
    image = f"{registry}/registry.opsforge.dev/opsforge/catalog"
    source = (CHECKOUT / "services" / ROUTES).read_text()
    assert GOOD in source
    files = {
        "Dockerfile": f"FROM {image}:{version}\nCOPY routes.py /app/{ROUTES}\n",
        "routes.py": source.replace(GOOD, BAD),
    }
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    tag = f"{image}:{version}-bad"
    subprocess.run(["docker", "build", "--tag", tag, "-"], input=context.getvalue(), check=True, capture_output=True)
    subprocess.run(["docker", "push", tag], check=True, capture_output=True)
    subprocess.run(["docker", "rmi", tag], check=True, capture_output=True)
    yield f"{version}-bad"
    # Not one of ours: it has the labels and the bill of the image that it is made from.
    idle = _slots.deployment("catalog", _slots.other(serving(site)[0]))
    site.cluster.delete("apps/v1", "Deployment", idle, "apps")
    site.eventually(lambda: site.cluster.get("apps/v1", "Deployment", idle, "apps") is None, 60)


@pytest.fixture
def people(site: Site, tmp_path: Path) -> Iterator[Load]:
    """People who look at the list, 100 times a second."""
    url = f"http://{site.published(HTTP_NODE_PORT)}/catalog/products?limit=5"
    with Load(url, 100, 400, tmp_path / "load") as load:
        yield load


def test_a_release_waits_when_told_to_and_goes_on_when_promoted(site: Site) -> None:
    slot, version = serving(site)
    name = f"{version.removesuffix('-waits')}-waits"
    done(play("release", version=name, promote=False))
    assert serving(site) == (slot, version)
    assert _slots.other(slot) in state(site).slots
    refused(play("promote", service_approval=True), "needs somebody's approval", "release_approved_by")
    assert serving(site) == (slot, version)
    done(play("promote", release_approved_by="a colleague", service_gate_seconds=0))
    assert serving(site) == (_slots.other(slot), name)
    assert state(site).history[-1].approved_by == "a colleague"
    done(play("rollback"))
    assert serving(site) == (slot, version)


@pytest.mark.parametrize("steps", [[], [20]], ids=["all at once", "canary"])
def test_a_bad_release_is_taken_back_by_what_people_see_of_it(
    site: Site, people: Load, bad_version: str, steps: list[int]
) -> None:
    before = serving(site)
    options = {"service_canary": steps, "service_gate_seconds": 90, "service_gate_unknown": "wait"}
    refused(play("release", version=bad_version, **options), f"{bad_version} was not released", "error_ratio is 0.")
    assert serving(site) == before
    assert [backend["name"] for backend in rules(site)[0]["backendRefs"]] == ["catalog"]
    assert not state(site).canary
    failed = [entry for entry in decisions(site) if entry["outcome"] == "fail" and entry["version"] == bad_version]
    assert {entry["when"] for entry in failed} >= {"during" if steps else "after"}
    # Only the bad version's own errors: moving the traffic there and back lost nothing.
    assert {request.status for request in people.requests()} <= {200, 500}


def test_a_plan_writes_nothing(site: Site) -> None:
    before = state(site).resource_version
    run = play("release_plan", version="9.9.9")
    done(run)
    assert "Version 9.9.9 goes to slot" in run.stdout and "changed=0" in run.stdout
    assert state(site).resource_version == before
