# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords: argon2id at OWASP's parameters, in a small pool that says no before it drowns the service."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from kit import Problem

T = TypeVar("T")

_NICE = 10


class Busy(Problem):
    """Every place in the pool is taken."""

    outcome = "busy"

    def __init__(self) -> None:
        super().__init__(429, "Too many log-ins at once; try again shortly.", headers={"Retry-After": "1"})


def _yield_to_others() -> None:
    """Lower this thread's priority: when cores are scarce, the event loop's answers come before the next hash."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class Passwords:
    """Hashes and verifies in `workers` threads (argon2 frees the interpreter lock), with `queue` places to wait."""

    def __init__(self, *, workers: int, queue: int, registry: CollectorRegistry) -> None:
        # OWASP password storage: argon2id, 19 MiB, 2 passes, 1 lane. Library defaults cost 8 times as much.
        self._hasher = PasswordHash((Argon2Hasher(memory_cost=19_456, time_cost=2, parallelism=1),))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="argon2", initializer=_yield_to_others)
        self._places = workers + queue
        self._nobody = self._hasher.hash(secrets.token_hex(16))
        self._seconds = Histogram("auth_password_seconds", "Time to hash, with waiting.", registry=registry)
        self._refused = Counter("auth_password_refused", "Refused because the pool was full.", registry=registry)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place for a request that is going to hash; raise Busy when there is none.

        Taken before the first question to the database, so that a storm costs the service this one comparison.
        """
        if self._places == 0:
            self._refused.inc()
            raise Busy
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    async def hash(self, password: str) -> str:
        """Return the encoded hash to store. Requests hold a place while they wait for it."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Return whether the password fits, and a new hash to store if the parameters have changed since.

        `stored` is None for an unknown user: that takes as long as a known one, and never fits.
        """
        fits, renewed = await self._run(lambda: self._hasher.verify_and_update(password, stored or self._nobody))
        return (fits, renewed) if stored else (False, None)

    async def _run(self, work: Callable[[], T]) -> T:
        with self._seconds.time():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
