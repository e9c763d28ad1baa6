# SPDX-License-Identifier: GPL-3.0-or-later
"""How something is asked over HTTP: its address, and a log-in whose secret is in a file beside the configuration.

The programs' configuration is in ConfigMaps, which more people may read than Secrets.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

# `url`, and for a log-in `username` with `password`, or `token`.
Asked = Mapping[str, Any]

# Without a user in front of the host.
_URL = re.compile(r"https?://[^\s/@]+(/\S*)?")


def settings(asked: Asked, file: str) -> dict[str, Any]:
    """Return what Prometheus and Alertmanager are told of the log-in, whose secret is in this file; {} without one."""
    if asked.get("username"):
        return {"basic_auth": {"username": asked["username"], "password_file": file}}
    return {"authorization": {"credentials_file": file}} if asked.get("token") else {}


def secret(asked: Asked) -> str | None:
    """Return the content of that file as a Secret has it, None without a log-in."""
    text = asked.get("token") or asked.get("password")
    return b64encode(str(text).encode()).decode() if text else None


def mistakes(asked: Asked) -> Iterator[str]:
    """Give what is wrong with the address or the log-in, without telling a secret."""
    if not _URL.fullmatch(str(asked.get("url") or "")):
        yield "url must begin with http:// or https:// and hold no log-in"
    if bool(asked.get("username")) != bool(asked.get("password")):
        yield "username and password need each other"
    if asked.get("token") and asked.get("password"):
        yield "it has either a password or a token, and not both"
