# SPDX-License-Identifier: GPL-3.0-or-later
"""dramatiq: `dramatiq dramatiq_jobs --processes 1` with its eight threads. Fills when run as a script."""

from __future__ import annotations

import os
import sys
import time

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

# A worker that has been silent for five seconds is dead (a minute by default).
dramatiq.set_broker(RedisBroker(url=os.environ["QUEUE_REDIS"], heartbeat_timeout=5000))
COUNTERS = redis.Redis.from_url(os.environ["QUEUE_REDIS"])


@dramatiq.actor
def add(number: int) -> int:
    """Add one."""
    return number + 1


@dramatiq.actor(max_retries=100, min_backoff=100)
def count(job: int) -> None:
    """Raise the job's counter."""
    time.sleep(0.01)
    COUNTERS.hincrby("effects", str(job), 1)
    time.sleep(0.01)


if __name__ == "__main__":
    actor = {"add": add, "count": count}[sys.argv[2]]
    for number in range(int(sys.argv[3]), int(sys.argv[4])):
        actor.send(number)
