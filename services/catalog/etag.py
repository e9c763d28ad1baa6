# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions in HTTP: ETag out, If-Match in (RFC 9110, 13.1.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header

from kit import Problem

# Lists of opaque tags; a weak one (W/"1") is never equal in If-Match, so it is left out.
_TAG = re.compile(r'(W/)?"([^"]*)"')


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class Match:
    """The versions that the caller is willing to replace; `*` is any."""

    header: str

    def check(self, version: int) -> None:
        """Return when `version` is among them, or answer 412."""
        tags = {tag for weak, tag in _TAG.findall(self.header) if not weak}
        if self.header.strip() != "*" and str(version) not in tags:
            raise Problem(412, "It has changed since you read it: read it again.")


async def get_match(
    if_match: Annotated[str | None, Header(max_length=200, description="The ETag that was read, or *.")] = None,
) -> Match:
    """Return the caller's precondition, or answer 428."""
    if if_match is None:
        raise Problem(428, "Say with If-Match which version this replaces.")
    return Match(if_match)


MatchDep = Annotated[Match, Depends(get_match)]
