# SPDX-License-Identifier: GPL-3.0-or-later
"""Other stores that Prometheus sends its samples to: what it is told of them, and what it is told in secret.

Prometheus' configuration is a ConfigMap, which more people may read than a Secret.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Without a user in front of the host.
_URL = re.compile(r"https?://[^\s/@]+(/\S*)?")
_LOGINS = ("basic_auth", "authorization", "oauth2", "sigv4", "azuread", "google_iam")

Store = Mapping[str, Any]


def config(stores: Sequence[Store], folder: str) -> list[dict[str, Any]]:
    """Return Prometheus' `remote_write`, which finds the secret of each store in a file of this folder.

    There must be no complaints().
    """
    return [
        {"url": store["url"], **(store.get("settings") or {}), **_login(store, f"{folder}/{number}")}
        for number, store in enumerate(stores)
    ]


def secrets(stores: Sequence[Store]) -> dict[str, str]:
    """Return the content of those files by name, as a Secret has it."""
    return {
        str(number): b64encode(str(store.get("token") or store["password"]).encode()).decode()
        for number, store in enumerate(stores)
        if store.get("token") or store.get("password")
    }


def complaints(stores: Sequence[Store]) -> list[str]:
    """Return one sentence for each mistake, none if samples can be sent. None of them tells a secret."""
    return [
        f"Store {number} of monitoring_remote_write: {mistake}."
        for number, store in enumerate(stores, 1)
        for mistake in _mistakes(store)
    ]


def _login(store: Store, file: str) -> dict[str, Any]:
    if store.get("username"):
        return {"basic_auth": {"username": store["username"], "password_file": file}}
    return {"authorization": {"credentials_file": file}} if store.get("token") else {}


def _mistakes(store: Store) -> Iterator[str]:
    if not _URL.fullmatch(str(store.get("url", ""))):
        yield "url must begin with http:// or https:// and hold no log-in"
    if bool(store.get("username")) != bool(store.get("password")):
        yield "username and password need each other"
    if store.get("token") and store.get("password"):
        yield "it has either a password or a token, and not both"
    for key in store.get("settings") or {}:
        if key in _LOGINS or key == "url":
            yield f"settings can't hold {key}: a log-in is username and password, or token"
