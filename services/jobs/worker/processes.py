# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes for jobs that compute: the event loop stays free, and a core is not shared with it."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

_PR_SET_PDEATHSIG = 1


class TookTooLong(Exception):
    """The computation was stopped at its time limit."""


class Processes:
    """A pool whose processes end with the worker, however it ends, and stop a job after `seconds`.

    They are started by a job that needs one, and ended after `idle_seconds` in which none did: one that waits weighs as
    much as the worker itself.
    """

    def __init__(self, workers: int, *, seconds: float, idle_seconds: float = 30) -> None:
        self._workers = workers
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._pool: ProcessPoolExecutor | None = None
        self._end: asyncio.TimerHandle | None = None

    async def run(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call a function in one of the processes.

        Raises what it raises, TookTooLong, or BrokenProcessPool when it took its process down.
        """
        loop = asyncio.get_running_loop()
        pool = self._pool = self._pool or self._open()
        try:
            return await loop.run_in_executor(pool, _limited, self._seconds, function, argument)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            raise
        finally:
            if self._end:
                self._end.cancel()
            self._end = loop.call_later(self._idle_seconds, self._rest)

    def _rest(self) -> None:
        # Whatever still runs in one of them is finished there.
        if self._pool:
            self._pool.shutdown(wait=False)
            self._pool = None

    def kill(self) -> None:
        """End the processes; whoever waits for one has been told otherwise."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.kill()

    def _open(self) -> ProcessPoolExecutor:
        # Forking a process that has threads and an event loop would copy locks that nobody opens.
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, mp_context=spawn, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to answer
    signal.signal(signal.SIGALRM, _stop)
    # A worker killed with -9 tells nobody.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _limited(seconds: float, function: Callable[[Any], Any], argument: Any) -> Any:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function(argument)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _stop(_number: int, _frame: object) -> None:
    raise TookTooLong
