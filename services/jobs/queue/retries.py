# SPDX-License-Identifier: GPL-3.0-or-later
"""When to try again."""

from __future__ import annotations

import random


def backoff(failures: int, *, first: float, cap: float, share: float | None = None) -> float:
    """Return the seconds to wait after so many failures: doubling from `first`, at most `cap`, the upper half random.

    Without the random part, jobs that failed together would come back together. `share` (0 to 1) replaces the chance.
    """
    longest = min(cap, first * 2.0 ** min(failures - 1, 60))
    return longest * (0.5 + 0.5 * (random.random() if share is None else share))
