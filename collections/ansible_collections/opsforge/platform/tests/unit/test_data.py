# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles read back what they once generated; where there is nothing yet, they get nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._client import connect
from ansible_collections.opsforge.platform.plugins.module_utils._data import read
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Forbidden


class Objects:
    """A few objects, and one that may not be read."""

    OBJECTS: dict[tuple[str, str, str], dict[str, Any]] = {
        ("Secret", "apps", "passwords"): {"data": {"redis": "c2VjcmV0"}},
        ("Secret", "apps", "empty"): {"metadata": {}},
        ("ConfigMap", "apps", "versions"): {"data": {"api": "1.6.1"}},
    }

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        if name == "private":
            raise Forbidden("not yours")
        return self.OBJECTS.get((kind, str(namespace), name))


@pytest.mark.parametrize(
    "kind, names, data",
    [
        ("Secret", ["apps/passwords"], [{"redis": "secret"}]),
        ("Secret", ["apps/absent", "apps/passwords", "apps/empty"], [{}, {"redis": "secret"}, {}]),
        ("Secret", ["other/passwords"], [{}]),
        ("ConfigMap", ["apps/versions"], [{"api": "1.6.1"}]),
    ],
)
def test_read(kind: str, names: list[str], data: list[dict[str, str]]) -> None:
    assert read(Objects(), kind, names) == data


def test_a_refusal_is_not_nothing() -> None:
    """Taking a failed read for an absent Secret would make new passwords over the old ones."""
    with pytest.raises(Forbidden):
        read(Objects(), "Secret", ["apps/private"])


def test_no_cluster_yet_is_nothing(tmp_path: Path) -> None:
    cluster = connect({"kubeconfig": str(tmp_path / "absent")}, check_mode=True)
    assert read(cluster, "Secret", ["apps/passwords"]) == [{}]
