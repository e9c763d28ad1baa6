# SPDX-License-Identifier: GPL-3.0-or-later
"""rq: `defaults` is its Worker, which forks for each job; `tuned` its SimpleWorker, which does not."""

from __future__ import annotations

import os
import sys
import time

import redis
from rq import Queue, Retry, SimpleWorker, Worker

CONNECTION = redis.Redis.from_url(os.environ["QUEUE_REDIS"])


def add(number: int) -> int:
    """Add one."""
    return number + 1


def count(job: int) -> None:
    """Raise the job's counter."""
    time.sleep(0.01)
    CONNECTION.hincrby("effects", str(job), 1)
    time.sleep(0.01)


def fill(name: str, numbers: range) -> None:
    """Add jobs, many at a time."""
    import rq_jobs  # by the name that the worker will know it by

    function = getattr(rq_jobs, name)
    queue = Queue(connection=CONNECTION)
    for first in range(numbers.start, numbers.stop, 500):
        some = range(first, min(first + 500, numbers.stop))
        queue.enqueue_many(
            [Queue.prepare_data(function, (number,), timeout=5, retry=Retry(max=100)) for number in some]
        )


def work(way: str) -> None:
    """Work until killed."""
    kind = Worker if way == "defaults" else SimpleWorker
    # Jobs of a dead worker are looked for at this interval (ten minutes by default).
    kind([Queue(connection=CONNECTION)], connection=CONNECTION, log_job_description=False, maintenance_interval=5).work(
        logging_level="ERROR"
    )


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(sys.argv[2], range(int(sys.argv[3]), int(sys.argv[4])))
    else:
        work(sys.argv[2])
