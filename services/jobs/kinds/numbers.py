# SPDX-License-Identifier: GPL-3.0-or-later
"""Computations."""

from __future__ import annotations

import hashlib
from math import isqrt
from typing import Annotated, Any, Literal

from pydantic import Field

from kit.schemas import Body, Text


class Content(Body):
    """Text to digest."""

    text: Annotated[Text, Field(max_length=60_000)]
    algorithm: Literal["sha256", "sha512", "blake2b"] = "sha256"


class Below(Body):
    """An upper bound, itself excluded."""

    below: int = Field(ge=2, le=20_000_000)


def checksum(content: Content) -> dict[str, Any]:
    """Digest the UTF-8 text; `bytes` is its length."""
    data = content.text.encode()
    return {"digest": hashlib.new(content.algorithm, data).hexdigest(), "bytes": len(data)}


def primes(bound: Below) -> dict[str, Any]:
    """Count the primes below the bound, and name the largest (null when there is none)."""
    sieve = bytearray([1]) * bound.below
    sieve[0:2] = b"\0\0"
    for number in range(2, isqrt(bound.below) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, bound.below, number)))
    largest = sieve.rfind(1)
    return {"count": sieve.count(1), "largest": largest if largest > 0 else None}
