# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep secret values out of diffs, results and messages."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Any

Object = dict[str, Any]
HIDDEN = "<hidden>"
CHANGED = "<hidden, changed>"

_WORD = r"(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credentials?|dsn)"
# A name ends in the secret word (DB_PASSWORD, adminPassword); `secretName` and `token_file` only point at one.
_NAME = re.compile(rf"(?:^|[a-z0-9._-]){_WORD}s?$", re.IGNORECASE)
# Both start where a word does: from each of its letters anew, a long word would cost the square of its length.
_LINE = re.compile(rf"((?<![\w.-])[\w.-]*{_WORD}[\"']?\s*[:=]\s*)(?=\S)([^\r\n]+)", re.IGNORECASE)
_URL = re.compile(r"((?<![a-z0-9+.-])[a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+@", re.IGNORECASE)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SHORTEST = 6  # shorter values are ordinary words, and blotting them out everywhere hides the message


def mask(obj: Object, other: Object | None = None) -> Object:
    """Return a copy with secret values hidden; those that differ from the other version say that they do."""
    other = other or {}
    masked: Object = {}
    for key, value in obj.items():
        if obj.get("kind") == "Secret" and key in ("data", "stringData") and isinstance(value, dict):
            masked[key] = {name: _hide(secret, (other.get(key) or {}).get(name)) for name, secret in value.items()}
        else:
            masked[key] = _mask(key, value, other.get(key))
    return masked


def mask_text(text: str) -> str:
    """Hide in free text what follows a secret's name, and passwords in URLs."""
    return _URL.sub(rf"\1{HIDDEN}@", _LINE.sub(rf"\1{HIDDEN}", text))


def secret_values(objects: Iterable[Object]) -> set[str]:
    """Collect the values of all Secrets, coded and plain, that are long enough to be recognised in a message."""
    return {value for obj in objects for value in _values(obj) if len(value) >= _SHORTEST}


def redact(text: str, values: Iterable[str]) -> str:
    """Blot out the values in a message."""
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def _hide(value: Any, other: Any) -> str:
    return HIDDEN if other is None or value == other else CHANGED


def _mask(name: str, value: Any, other: Any) -> Any:
    if name == _LAST_APPLIED:
        return _hide(value, other)
    if isinstance(value, dict):
        below = other if isinstance(other, dict) else {}
        masked = {key: _mask(key, inner, below.get(key)) for key, inner in value.items()}
        if isinstance(value.get("value"), str) and _NAME.search(str(value.get("name", ""))):
            masked["value"] = _hide(value["value"], below.get("value"))
        return masked
    if isinstance(value, list):
        return [_mask(name, item, _counterpart(item, at, other)) for at, item in enumerate(value)]
    if isinstance(value, str):
        if _NAME.search(name):
            return _hide(value, other)
        return mask_text(value) if len(value) > 3 else value
    return value


def _counterpart(item: Any, at: int, others: Any) -> Any:
    if not isinstance(others, list):
        return None
    if isinstance(item, dict) and "name" in item:
        return next((other for other in others if isinstance(other, dict) and other.get("name") == item["name"]), None)
    return others[at] if at < len(others) else None


def _values(obj: Object) -> Iterator[str]:
    if obj.get("kind") != "Secret":
        return
    for value in (obj.get("data") or {}).values():
        yield str(value)
        try:
            plain = base64.b64decode(str(value), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        yield plain
        yield from (line.strip() for line in plain.splitlines())
