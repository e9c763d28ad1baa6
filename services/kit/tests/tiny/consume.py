# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that takes an event, says so, and never finishes it: `python consume.py GROUP`."""

from __future__ import annotations

import asyncio
import sys

from kit import load_settings
from kit.events import Consumer, Event
from kit.metrics import Metrics
from kit.redis import Redis, RedisSettings


async def handle(event: Event) -> None:
    """Hang."""
    print(event.id, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    settings = load_settings(RedisSettings)
    asyncio.run(Consumer(Redis(settings), Metrics(settings), group=sys.argv[1], handle=handle).run())
