# SPDX-License-Identifier: GPL-3.0-or-later
"""When to try again: decided by numbers alone."""

from __future__ import annotations

import pytest

from jobs.queue.retries import backoff


@pytest.mark.parametrize(
    ("failures", "share", "seconds"),
    [
        (1, 1.0, 2.0),
        (1, 0.0, 1.0),
        (2, 1.0, 4.0),
        (3, 0.5, 6.0),
        (4, 1.0, 10.0),  # the cap
        (4, 0.0, 5.0),
        (10_000, 1.0, 10.0),  # no overflow
    ],
)
def test_backoff(failures: int, share: float, seconds: float) -> None:
    assert backoff(failures, first=2.0, cap=10.0, share=share) == seconds


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    pauses = {backoff(3, first=1.0, cap=300.0) for _ in range(100)}
    assert len(pauses) > 90
    assert all(2.0 <= pause <= 4.0 for pause in pauses)
