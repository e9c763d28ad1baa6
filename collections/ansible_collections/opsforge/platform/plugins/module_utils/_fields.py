# SPDX-License-Identifier: GPL-3.0-or-later
"""What one manager owns of a live object, read from `metadata.managedFields`.

If that is exactly what is wished, a server-side apply would change nothing and need not be sent.
"""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]


def is_applied(live: Object, wished: Object, manager: str) -> bool:
    """Tell whether applying wished as manager would surely change nothing. False also means "ask the server"."""
    entries = _entries(live, manager)
    if len(entries) > 1 or any(entry.get("apiVersion") != wished["apiVersion"] for entry in entries):
        return False
    fields = entries[0]["fieldsV1"] if entries else {}  # who owns nothing has no entry
    return (_anonymous(_extract(live, fields)) if fields else {}) == _anonymous(wished)


def owned(live: Object, manager: str) -> Object:
    """The part of a live object that the manager applied: applying it again, with more, takes nothing of it away."""
    entries = _entries(live, manager)
    found: Object = _extract(live, entries[0]["fieldsV1"]) if entries else {}
    return found


def _entries(live: Object, manager: str) -> list[Object]:
    return [
        entry
        for entry in live["metadata"].get("managedFields") or []
        if (entry.get("manager"), entry.get("operation"), entry.get("subresource")) == (manager, "Apply", None)
    ]


def _anonymous(obj: Object) -> Object:
    """Leave out what managedFields never lists: the identity of the object."""
    rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key not in ("name", "namespace")}
    return {**rest, "metadata": metadata} if metadata else rest


def _extract(value: Any, fields: dict[str, Any]) -> Any:
    if not fields:
        return value
    if isinstance(value, dict):
        below = ((key[2:], inner) for key, inner in fields.items() if key.startswith("f:"))
        return {key: _extract(value[key], inner) for key, inner in below if key in value}
    if isinstance(value, list):
        chosen = ((item, _of_item(item, fields)) for item in value)
        return [_extract(item, inner) for item, inner in chosen if inner is not None]
    return value


def _of_item(item: Any, fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is owned below one item of a list, None if the item is not owned."""
    for key, inner in fields.items():
        sort, _, coded = key.partition(":")
        if sort == "v" and json.loads(coded) == item:
            return {}
        if sort == "k" and isinstance(item, dict) and json.loads(coded).items() <= item.items():
            found: dict[str, Any] = inner
            return found
    return None
