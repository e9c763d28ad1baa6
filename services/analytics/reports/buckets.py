# SPDX-License-Identifier: GPL-3.0-or-later
"""A range of time in equal parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

MAX_BUCKETS = 1500  # a day of minutes, two months of hours


class Bucket(StrEnum):
    """How long a part is; days are those of UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """Its length."""
        return {Bucket.MINUTE: timedelta(minutes=1), Bucket.HOUR: timedelta(hours=1), Bucket.DAY: timedelta(days=1)}[
            self
        ]


def buckets(begin: datetime, end: datetime, bucket: Bucket) -> list[datetime]:
    """Return the beginnings of all parts that touch [begin, end); raises ValueError for too many or none."""
    first = begin - (begin - datetime(2000, 1, 1, tzinfo=UTC)) % bucket.length
    number = -((first - end) // bucket.length)  # rounded up
    if number < 1:
        raise ValueError("The range is empty: `from` must be before `to`.")
    if number > MAX_BUCKETS:
        raise ValueError(
            f"That is {number} buckets and {MAX_BUCKETS} is the limit: take longer ones or a shorter range."
        )
    return [first + step * bucket.length for step in range(number)]
