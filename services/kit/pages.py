# SPDX-License-Identifier: GPL-3.0-or-later
"""Long lists in pages: a limit, and an opaque cursor that says where the next page begins."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from kit.problems import Problem

T = TypeVar("T")


async def _limit(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> int:
    return limit


async def _cursor(
    cursor: Annotated[
        str | None, Query(max_length=400, pattern=r"^[A-Za-z0-9_-]+$", description="The `next` of a page.")
    ] = None,
) -> str | None:
    return cursor


LimitDep = Annotated[int, Depends(_limit)]
"""How many to show: 1 to 100, 20 unless told."""

CursorDep = Annotated[str | None, Depends(_cursor)]
"""Where to begin: at the beginning unless told."""


class Page(BaseModel, Generic[T]):
    """Some of many; `next` is the cursor of what follows, null at the end."""

    items: list[T]
    next: str | None = Field(default=None)


def encode_cursor(*keys: datetime | UUID | int) -> str:
    """Write down the sort keys of the last item shown."""
    plain = [
        key if isinstance(key, int) else key.isoformat() if isinstance(key, datetime) else str(key) for key in keys
    ]
    return urlsafe_b64encode(json.dumps(plain).encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, *kinds: type[Any]) -> tuple[Any, ...]:
    """Read the sort keys back, each of its kind (datetime, UUID or int); raise the 422 for anything else."""
    try:
        plain = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return tuple(_read(key, kind) for key, kind in zip(plain, kinds, strict=True))
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise Problem(422, "The cursor is not one of ours.") from None


def _read(key: Any, kind: type[Any]) -> Any:
    if kind is datetime:
        moment = datetime.fromisoformat(key)
        if moment.tzinfo is None:
            raise ValueError
        return moment
    if kind is UUID:
        return UUID(key)
    # Looked for in a bigint column later: what does not fit there never came from us.
    if type(key) is not int or not -(2**63) <= key < 2**63:
        raise ValueError
    return key
