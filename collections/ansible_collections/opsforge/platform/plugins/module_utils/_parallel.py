# SPDX-License-Identifier: GPL-3.0-or-later
"""One function over many items on a few threads: the time goes into waiting for the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CONNECTIONS = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call function for every item and return the results in order; all are called even if one raises."""
    work = list(items)
    if len(work) < 2:
        return [function(item) for item in work]
    with ThreadPoolExecutor(min(CONNECTIONS, len(work))) as pool:
        futures = [pool.submit(function, item) for item in work]
    return [future.result() for future in futures]
