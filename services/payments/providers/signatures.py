# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed webhooks: `OpsForge-Signature: t=<Unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`, v1 once for each secret.

The time is signed with the body, so an old call can't be given a new date.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from payments.providers import WebhookRefused

HEADER = "OpsForge-Signature"

_HEADER = re.compile(r"t=([0-9]{1,12})((?:,v1=[0-9a-f]{64}){1,4})", re.ASCII)


def sign(secret: str, body: bytes, *, at: int) -> str:
    """Return the header's value for a body sent at the Unix time `at`."""
    return f"t={at},v1={_mac(secret, body, str(at))}"


def check(secrets: Sequence[str], header: str, body: bytes, *, now: float, tolerance: float) -> None:
    """Return when one of the secrets signed the body no more than `tolerance` seconds ago; else raise WebhookRefused.

    More than one secret is for the time of a rotation.
    """
    parsed = _HEADER.fullmatch(header)
    if not parsed:
        raise WebhookRefused("malformed", f"The header {HEADER} is missing or not of the form t=…,v1=….")
    at, given = parsed[1], parsed[2].split(",v1=")[1:]
    # Every pair is compared, in constant time: how long it took says nothing about how close a guess was.
    fits = [hmac.compare_digest(_mac(secret, body, at), mac) for secret in secrets for mac in given]
    if not any(fits):
        raise WebhookRefused("forged", "The signature does not fit.")
    if abs(now - int(at)) > tolerance:
        raise WebhookRefused("expired", "The signature is too old, or from the future.")


def _mac(secret: str, body: bytes, at: str) -> str:
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
