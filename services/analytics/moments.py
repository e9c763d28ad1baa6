# SPDX-License-Identifier: GPL-3.0-or-later
"""Points in time as callers write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field


def _is_written(moment: Any) -> Any:
    # A number would be read as Unix time, in seconds or in milliseconds: a guess.
    if not isinstance(moment, str) or moment[4:5] != "-":
        raise ValueError("expected a time such as 2026-01-31T12:00:00Z")
    return moment


def _is_possible(moment: datetime) -> datetime:
    # Away from both ends of the calendar, so that no sum below can leave it.
    if not 2000 <= moment.year < 2200:
        raise ValueError("expected a time between the years 2000 and 2200")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_is_written), AfterValidator(_is_possible)]
"""A time with its offset; in UTC from here on."""
