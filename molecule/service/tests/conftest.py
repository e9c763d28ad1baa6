# SPDX-License-Identifier: GPL-3.0-or-later
"""A service as its releases are tried on it: by the playbooks that people use, and as it stands in the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from ansible_collections.opsforge.platform.plugins.module_utils._incidents import Desk, Wish
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import PROMETHEUS_DEFAULTS, Prometheus
from ansible_collections.opsforge.platform.plugins.modules import incident
from benchmarks import _flaws
from benchmarks._load import Load

if TYPE_CHECKING:
    from conftest import Site

CHECKOUT = Path(__file__).parents[3]
HTTP_NODE_PORT = 30080
ROUTE = ("gateway.networking.k8s.io/v1", "HTTPRoute")


@dataclass(frozen=True)
class Service:
    """One service of the shop."""

    site: Site
    name: str

    def play(self, playbook: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        """Run one of the release playbooks."""
        words = json.dumps({"service": self.name, **extra})
        return self._run("ansible-playbook", f"{CHECKOUT}/playbooks/{playbook}.yml", "-e", words)

    def done(self, playbook: str, **extra: Any) -> str:
        """Run one that has to succeed, and return what it said."""
        run = self.play(playbook, **extra)
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
        return run.stdout

    def refused(self, playbook: str, *words: str, **extra: Any) -> None:
        """Run one that has to fail and to say these words."""
        _is_refusal(self.play(playbook, **extra), *words)

    def module_refused(self, module: str, *words: str, **arguments: Any) -> None:
        """The same for one of the modules by itself."""
        kubeconfig = self.site.kubeconfig
        given = {"kubeconfig": kubeconfig, "namespace": "apps", "service": self.name, **arguments}
        run = self._run("ansible", "localhost", "-m", f"opsforge.platform.{module}", "-a", json.dumps(given))
        _is_refusal(run, *words)

    def _run(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        program = str(Path(sys.executable).with_name(command))
        return subprocess.run([program, *words], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)

    def state(self) -> _slots.State:
        return _slots.read(self.site.cluster, "apps", self.name)

    def serving(self) -> tuple[str, str]:
        """Slot and version in use."""
        slot = self.state().serving
        assert slot is not None
        return slot.name, slot.version

    def idle(self) -> str:
        """The slot that is not in use."""
        return _slots.other(self.serving()[0])

    def rules(self) -> list[dict[str, Any]]:
        """Those of its route."""
        route = self.site.cluster.get(*ROUTE, self.name, "apps")
        assert route is not None
        rules: list[dict[str, Any]] = route["spec"]["rules"]
        return rules

    def decisions(self) -> list[dict[str, Any]]:
        """What the gate decided so far."""
        found = self.site.cluster.get("v1", "ConfigMap", f"{self.name}-decisions", "apps")
        assert found is not None
        return [json.loads(line) for line in found["data"]["decisions"].splitlines()]

    def incidents(self, key: str) -> list[dict[str, Any]]:
        """Those that were opened with this key, oldest first."""
        wish = {name: spec.get("default") for name, spec in incident.ARGUMENT_SPEC.items()}
        desk = Desk(self.site.cluster, "apps")
        found = desk.run(Wish.of({**wish, "state": "report", "key": key}, user="test"))["incidents"]
        assert isinstance(found, list)
        return found

    def prometheus(self) -> Prometheus:
        """The one that gates ask."""
        return Prometheus.of(PROMETHEUS_DEFAULTS, self.site.cluster)

    def url(self, path: str) -> str:
        """Where a path of the service is reached through the entrance."""
        return f"http://{self.site.published(HTTP_NODE_PORT)}/{self.name}{path}"

    def prepare(self) -> None:
        """Have another version wait in the idle slot."""
        version = self.serving()[1]
        self.done("release", version=f"{version.removesuffix('-waits')}-waits", promote=False)

    def empty(self) -> str:
        """Have no Deployment in the idle slot, and return its name."""
        slot = self.idle()
        where = ("apps/v1", "Deployment", _slots.deployment(self.name, slot), "apps")
        self.site.cluster.delete(*where)
        self.site.eventually(lambda: self.site.cluster.get(*where) is None)
        return slot


def _is_refusal(run: subprocess.CompletedProcess[str], *words: str) -> None:
    said = " ".join((run.stdout + run.stderr).split())
    assert run.returncode != 0, said[-2000:]
    for word in words:
        assert word in said, said[-3000:]


@pytest.fixture
def catalog(site: Site) -> Service:
    return Service(site, "catalog")


Flaw = Callable[[str, dict[str, str]], str]
Spoil = Callable[[str, str], str]


@pytest.fixture
def flaw(catalog: Service) -> Iterator[Flaw]:
    """Push a version that is the one in use but for these files (path in services/: text), and return its name."""
    site = catalog.site
    yield lambda word, files: _flaws.push(site.cluster, site.platform, "apps", catalog.name, word, files)
    # Not one of ours: it has the labels and the bill of the image that it is made from.
    catalog.empty()


@pytest.fixture
def spoil(flaw: Flaw) -> Spoil:
    """Push a version that does something more when it is asked for its list, by a word for it and lines of Python."""
    return lambda word, lines: flaw(word, _flaws.list_with(lines))


@pytest.fixture
def people(catalog: Service, tmp_path: Path) -> Iterator[Load]:
    """People who look at the list, 30 times a second: a slot is to be judged, not to be overloaded."""
    with Load(catalog.url("/products?limit=5"), 30, 500, tmp_path / "load") as load:
        yield load
