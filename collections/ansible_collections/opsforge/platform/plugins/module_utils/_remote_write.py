# SPDX-License-Identifier: GPL-3.0-or-later
"""Other stores that Prometheus sends its samples to: what it is told of them, and what it is told in secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _logins

# What in Prometheus' own settings is a secret, or may hold one.
_SECRETS = {
    *("authorization", "azuread", "basic_auth", "bearer_token", "google_iam", "oauth2", "sigv4"),
    *("http_headers", "proxy_connect_header"),
}
_USER_IN_URL = re.compile(r"://[^\s/]*@")

Store = Mapping[str, Any]


def config(stores: Sequence[Store], folder: str) -> list[dict[str, Any]]:
    """Return Prometheus' `remote_write`, which finds the secret of each store in a file of this folder.

    There must be no complaints().
    """
    return [
        {"url": store["url"], **(store.get("settings") or {}), **_logins.settings(store, f"{folder}/{_file(store)}")}
        for store in stores
    ]


def secrets(stores: Sequence[Store]) -> dict[str, str]:
    """Return the content of those files by name, as a Secret has it."""
    return {_file(store): secret for store in stores if (secret := _logins.secret(store))}


def complaints(stores: Sequence[Store]) -> list[str]:
    """Return one sentence for each mistake, none if samples can be sent. None of them tells a secret."""
    return [
        f"Store {number} of monitoring_remote_write: {mistake}."
        for number, store in enumerate(stores, 1)
        for mistake in (*_logins.mistakes(store), *_open_secrets(store))
    ]


def _file(store: Store) -> str:
    """Of its own for each store: ConfigMap and Secret arrive at different moments, and one in the place of another's
    would be sent to the wrong store meanwhile."""
    what = [store["url"], store.get("username"), store.get("settings")]
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _open_secrets(store: Store) -> Iterator[str]:
    given = store.get("settings") or {}
    for key in given:
        if key in _SECRETS or key == "url":
            yield f"settings can't hold {key}: a log-in is username and password, or token"
    if (given.get("tls_config") or {}).get("key"):
        yield "settings can't hold tls_config.key: name a file by key_file"
    if _USER_IN_URL.search(json.dumps(given)):
        yield "settings can't hold a URL with a log-in"
