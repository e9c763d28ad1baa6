# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what a real program has to come to by itself."""

from __future__ import annotations

import contextlib
import time
import urllib.error
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], seconds: float = 60, hope: str = "what is looked for") -> T:
    """Look again until something true is seen, also while nobody answers. Fails after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if seen := look():
                return seen
        assert time.monotonic() < deadline, f"not within {seconds} s: {hope}"
        time.sleep(0.1)
