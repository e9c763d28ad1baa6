# SPDX-License-Identifier: GPL-3.0-or-later
"""The API tier: one control plane for the whole run, one namespace for each test, modules through their own door."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect

from .control_plane import ControlPlane

MODULES = "ansible_collections.opsforge.platform.plugins.modules"
RunModule = Callable[..., dict[str, Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is of the API tier."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.api)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start kube-apiserver and etcd."""
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Cluster:
    """Connect to the control plane as its administrator."""
    return connect({"kubeconfig": str(control_plane.kubeconfig)})


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Make a namespace that only this test uses. No controller deletes it: it goes with the control plane."""
    name = f"t-{abs(hash(request.node.nodeid)) % 10**10}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name


@pytest.fixture
def run_module(control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> RunModule:
    """Return a function that runs a module's main() with these options, and returns the JSON that it prints.

    `check` and `diff` stand for the command line's `--check` and `--diff`.
    """

    def run(module: str, *, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
        options.setdefault("kubeconfig", str(control_plane.kubeconfig))
        door = importlib.import_module(f"{MODULES}.{module}")
        capsys.readouterr()
        with (
            patch_module_args({**options, "_ansible_check_mode": check, "_ansible_diff": diff}),
            pytest.raises(SystemExit),
        ):
            door.main()
        said = capsys.readouterr()
        result: dict[str, Any] = json.loads(said.out)
        # Where other tests have loaded the controller's parts too, Ansible shows warnings instead of returning them.
        if said.err:
            result.setdefault("warnings", [" ".join(said.err.split())])
        return result

    return run
