# SPDX-License-Identifier: GPL-3.0-or-later
"""A way to the running stack, for every test of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from ansible_collections.opsforge.platform.plugins.module_utils._http import Pool
from ansible_collections.opsforge.platform.plugins.module_utils._kubeconfig import load_endpoint

Ask = Callable[[str, str], Any]


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """The administrator's way into the platform."""
    checkout = Path(__file__).parents[3]
    return str(checkout / ".state" / os.environ.get("OPSFORGE_PLATFORM", "opsforge") / "kubeconfig")


@pytest.fixture(scope="module")
def ask(kubeconfig: str) -> Ask:
    """Ask one of the stack's Services through the API server's proxy, as people do."""
    pool = Pool(load_endpoint(kubeconfig, None))

    def get(service: str, path: str) -> Any:
        answer = pool.request("GET", f"/api/v1/namespaces/monitoring/services/{service}:http/proxy/{path}")
        assert answer.status == 200, answer.body.decode()
        return json.loads(answer.body)

    return get


@pytest.fixture(scope="module")
def cluster(kubeconfig: str) -> Cluster:
    return connect({"kubeconfig": kubeconfig})
