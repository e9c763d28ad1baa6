# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock that moves when told to."""

from __future__ import annotations

import pytest


class Clock:
    """Seconds since some moment."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()
