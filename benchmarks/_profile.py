# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a process spent its time, in lines that a person reads."""

from __future__ import annotations

import pstats
from pathlib import Path


def top(profile: Path, count: int = 12) -> list[str]:
    """The functions that most time was spent in, themselves and not what they call; a share of the whole, in percent.

    `profile` is a file that cProfile wrote.
    """
    stats = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]  # typeshed does not know it
    own = {where: entry[2] for where, entry in stats.items()}
    whole = sum(own.values()) or 1.0
    largest = sorted(own.items(), key=lambda item: item[1], reverse=True)[:count]
    return [f"{100 * seconds / whole:5.1f}%  {_name(*where)}" for where, seconds in largest]


def _name(file: str, line: int, function: str) -> str:
    """`module.py:12 function`, with the package's folder; built-in functions have no file."""
    if file == "~":
        return function
    path = Path(file)
    return f"{path.parent.name}/{path.name}:{line} {function}"
