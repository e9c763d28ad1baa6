# SPDX-License-Identifier: GPL-3.0-or-later
"""Doing the jobs of one queue: claimed, run and settled in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Protocol, TypeVar

import structlog
from taskiq.receiver import Receiver

import kit.database
import kit.redis
from jobs.queue.broker import StreamBroker
from jobs.queue.delivery import Delivery, Outcome, current_delivery
from kit.trace import current_trace, tracing

log = structlog.get_logger("jobs.queue")

T = TypeVar("T")

AWAY = (*kit.database.UNAVAILABLE, *kit.redis.UNAVAILABLE)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_DRAINED_PAUSE = 0.2


@dataclass(slots=True)
class Claims:
    """What is to be done with a batch of deliveries."""

    run: list[Delivery] = field(default_factory=list)
    forget: list[Delivery] = field(default_factory=list)
    """Done already, or no job at all."""
    postpone: list[tuple[Delivery, float]] = field(default_factory=list)
    """Somebody else has it, for so many seconds at least."""


class Ledger(Protocol):
    """Who keeps the books. Its methods may raise what is in AWAY, and are then asked again."""

    async def claim(self, deliveries: Sequence[Delivery]) -> Claims:
        """Say which of these are ours to run now."""

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write down how runs ended."""

    async def renew(self, deliveries: Sequence[Delivery]) -> Collection[Delivery]:
        """Keep these jobs for ourselves; return those that are not ours any more."""

    async def hand_back(self, deliveries: Sequence[Delivery]) -> None:
        """Give up claimed jobs as if they had never begun."""


@dataclass(slots=True, eq=False)
class _Held:
    """A job that this worker has claimed and not settled."""

    delivery: Delivery
    renewed: float
    task: asyncio.Task[None] | None = None


class BatchReceiver(Receiver):
    """taskiq's receiver with a `listen` that works in batches.

    The library's makes four tasks for each job and waits for a round trip to acknowledge it; claiming and settling a
    job in PostgreSQL would add two more. Here one statement claims what one read brought, the jobs run at the same
    time, each as the library runs it (`run_task`), and whatever has ended by the time the last commit is through is
    settled by the next one. Only then it is acknowledged: a crash at any point leaves the job in the stream.
    """

    def __init__(
        self,
        broker: StreamBroker,
        ledger: Ledger,
        *,
        slots: int,
        batch: int,
        drain_seconds: float,
        is_paused: Callable[[], bool] = lambda: False,
        count_running: Callable[[int], None] = lambda _difference: None,
    ) -> None:
        super().__init__(
            broker,
            validate_params=False,
            max_async_tasks=slots,
            run_startup=False,
        )
        self._stream = broker
        self._ledger = ledger
        self._slots = slots
        self._batch = batch
        self._drain_seconds = drain_seconds
        self._is_paused = is_paused
        self._count_running = count_running
        self._clock = asyncio.get_running_loop().time
        self._renew_seconds = broker.visibility_ms / 3000
        self._held: set[_Held] = set()
        self._running = 0
        self._ended: list[tuple[_Held, Outcome]] = []
        self._has_ended = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._abandoned = False

    async def listen(self, finish_event: asyncio.Event) -> None:
        """Do jobs until `finish_event`; then finish within the drain time, and hand back what is not done by then."""
        helpers = [asyncio.create_task(loop()) for loop in (self._settle_ended, self._renew_held)]
        try:
            await self._read(finish_event)
            await self._drain()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _read(self, finish_event: asyncio.Event) -> None:
        next_look = self._clock()
        pause = _FIRST_PAUSE
        while not finish_event.is_set():
            room = min(self._slots - self._running, self._batch, 4 * self._batch - len(self._held) + self._running)
            if self._is_paused():
                await asyncio.sleep(_DRAINED_PAUSE)
                continue
            if room <= 0:
                self._has_room.clear()
                await self._has_room.wait()
                continue
            try:
                deliveries: list[Delivery] = []
                if self._clock() >= next_look:
                    deliveries = await self._stream.take_over(room)
                    # A full answer: there may be more.
                    next_look = self._clock() + (0 if len(deliveries) == room else self._renew_seconds)
                deliveries = deliveries or await self._stream.fetch(room)
                if deliveries and (finish_event.is_set() or self._is_paused()):
                    await self._stream.hand_back(deliveries)
                elif deliveries:
                    await self._begin(deliveries, finish_event)
                pause = _FIRST_PAUSE
            except Exception as error:  # whatever it is, the other jobs go on; these come again after their time-out
                log.warning("cannot take jobs", error=type(error).__name__, exc_info=not isinstance(error, AWAY))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _begin(self, deliveries: list[Delivery], finish_event: asyncio.Event) -> None:
        known = [delivery for delivery in deliveries if self.broker.find_task(delivery.kind)]
        for delivery in deliveries:
            if delivery not in known:  # a newer version's, during a roll-out: one of its workers takes it over
                log.warning("unknown kind of job", kind=delivery.kind, job=str(delivery.id))
                await self._stream.postpone(delivery, 0)
        if not known:
            return
        claims = await self._insist(partial(self._ledger.claim, known), finish_event.is_set)
        now = self._clock()
        for delivery in claims.run:
            held = _Held(delivery, now)
            self._held.add(held)
            self._running += 1
            held.task = asyncio.create_task(self._run(held))
            held.task.add_done_callback(self._on_run_end)
        self._count_running(len(claims.run))
        for delivery, seconds in claims.postpone:
            await self._stream.postpone(delivery, seconds)
        if claims.forget:
            await self._stream.ack(claims.forget)

    async def _run(self, held: _Held) -> None:
        delivery = held.delivery
        current_delivery.set(delivery)
        current_trace.set(delivery.trace)  # a task of its own: nobody else sees it
        begun = perf_counter()
        task = self.broker.find_task(delivery.kind)
        assert task  # looked up before it was claimed
        result = await self.run_task(task.original_func, delivery.message)
        # A cancelled run is nobody's outcome: the job is not ours any more, or about to be handed back.
        if not isinstance(result.error, asyncio.CancelledError):
            self._ended.append((held, Outcome(delivery, result, perf_counter() - begun)))
            self._has_ended.set()

    def _on_run_end(self, _task: asyncio.Task[None]) -> None:
        self._running -= 1
        self._count_running(-1)
        self._has_room.set()

    async def _settle_ended(self) -> None:
        while True:
            await self._has_ended.wait()
            self._has_ended.clear()
            ended, self._ended = self._ended[: self._batch], self._ended[self._batch :]
            if self._ended:
                self._has_ended.set()
            ended = [(held, outcome) for held, outcome in ended if held in self._held]
            if not ended:
                continue
            outcomes = [outcome for _, outcome in ended]
            try:
                await self._insist(partial(self._ledger.settle, outcomes), lambda: self._abandoned)
                await self._stream.ack([held.delivery for held, _ in ended])
            except Exception as error:  # they come again after their time-out, and are known as done if they are
                log.warning("cannot settle", jobs=len(ended), error=type(error).__name__)
            self._let_go([held for held, _ in ended])

    async def _renew_held(self) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds / 2)
            now = self._clock()
            due = [held for held in self._held if now - held.renewed >= self._renew_seconds]
            if not due:
                continue
            try:
                lost = await self._ledger.renew([held.delivery for held in due])
                kept = [held.delivery for held in due if held.delivery not in lost]
                # Only now in Redis: nobody is to be offered a job that PostgreSQL says is still ours.
                if kept:
                    await self._stream.keep(kept)
            except AWAY as error:
                log.warning("cannot renew", jobs=len(due), error=type(error).__name__)
                continue
            for held in due:
                held.renewed = now
            for held in [held for held in due if held.delivery in lost and held in self._held]:
                with tracing(held.delivery.trace):
                    log.warning("lost a job to another worker", job=str(held.delivery.id), kind=held.delivery.kind)
                self._let_go([held])
                if held.task:
                    held.task.cancel()

    async def _drain(self) -> None:
        """Let held jobs end; hand back those that do not."""
        try:
            async with asyncio.timeout(self._drain_seconds):
                while self._held:
                    self._is_idle.clear()
                    await self._is_idle.wait()
        except TimeoutError:
            self._abandoned = True
        left = [held for held in self._held if held not in {ended for ended, _ in self._ended}]
        if not left:
            return
        for held in left:
            if held.task:
                held.task.cancel()
        self._let_go(left)
        deliveries = [held.delivery for held in left]
        try:
            await self._ledger.hand_back(deliveries)
            await self._stream.hand_back(deliveries)
            log.info("handed back", jobs=len(deliveries))
        except AWAY as error:  # then the visibility time-out does it
            log.warning("cannot hand back", jobs=len(deliveries), error=type(error).__name__)

    def _let_go(self, held: Sequence[_Held]) -> None:
        self._held.difference_update(held)
        self._has_room.set()
        if not self._held:
            self._is_idle.set()

    async def _insist(self, ask: Callable[[], Awaitable[T]], may_give_up: Callable[[], bool]) -> T:
        """Ask until there is an answer; raise what is in AWAY only when told to give up."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await ask()
            except AWAY as error:
                if may_give_up():
                    raise
                log.warning("a dependency is away", error=type(error).__name__, pause=round(pause, 2))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
