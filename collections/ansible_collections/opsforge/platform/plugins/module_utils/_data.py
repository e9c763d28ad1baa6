# SPDX-License-Identifier: GPL-3.0-or-later
"""What Secrets and ConfigMaps hold, as text."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Protocol


class Reader(Protocol):
    """What is needed of a cluster here."""

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None: ...


def read(cluster: Reader, kind: str, names: Iterable[str]) -> list[dict[str, str]]:
    """Return the decoded data of each `namespace/name`, empty where there is no such object.

    Raises PlatformError if the server does not answer or refuses: that is not the same as an absent object.
    """
    found = []
    for term in names:
        namespace, _, name = term.partition("/")
        data = (cluster.get("v1", kind, name, namespace) or {}).get("data") or {}
        found.append(_decode(data) if kind == "Secret" else data)
    return found


def _decode(data: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in data.items()}
