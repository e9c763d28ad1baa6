# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports as they go out."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel, Field

from analytics.reports.buckets import Bucket


class Point(BaseModel):
    """How many events there were in the bucket that begins at `time`."""

    time: datetime
    count: int


class Series(BaseModel):
    """Events of one type in whole buckets from `start` up to `end`, empty ones included."""

    type: str
    bucket: Bucket
    start: datetime
    end: datetime
    total: int
    points: list[Point]


class Day(BaseModel):
    """One day (UTC) of the shop."""

    day: date
    orders: int = Field(description="Orders placed.")
    paid: int = Field(description="Orders paid.")
    revenue_cents: dict[str, int] = Field(description="What the paid ones came to, by currency.")
    sign_ups: int


class Summary(BaseModel):
    """The last days, today included."""

    days: list[Day]
