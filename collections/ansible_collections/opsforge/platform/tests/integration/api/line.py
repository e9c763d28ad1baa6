# SPDX-License-Identifier: GPL-3.0-or-later
"""One operator's line to the API server, on which things go wrong when the history says so, and turns between two."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPMessage
from typing import Any, Protocol

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer, Pool

from .ledger import Ledger, Run

# What goes wrong with the n-th read or write of a run, by that call's name: {"write 2": "killed after"}.
Troubles = Mapping[str, str]
# Called before each call, with "write", "record" (a look at it) or "" for any other.
Turn = Callable[[str], None]
EVENTS = ("restart", "edited", "scaled", "blue fails", "green fails")
READ_TROUBLES = ("stale", "unreachable", "killed before", *EVENTS)
WRITE_TROUBLES = ("killed before", "killed after", "unreachable", "unanswered", *EVENTS)
_ADDRESS = re.compile(r"/namespaces/[^/]+/(?P<kind>\w+)(?:/(?P<name>[\w.-]+))?")
_SINCE = re.compile(r"&resourceVersion=\d+")
_POD = re.compile(r"/pods/(?P<pod>[\w.-]+):\d+/proxy")


class Killed(BaseException):
    """The run's process is no more; nothing in it may catch this."""


class World(Protocol):
    """What happens around the runs."""

    def happen(self, what: str, kind: str, name: str) -> None:
        """One of EVENTS, just before a call for this object."""

    def answers(self, pod: str) -> bool:
        """Whether a pod answers requests."""


class Past:
    """What the server answered to each read before it answered something else, whatever it should be newer than."""

    def __init__(self) -> None:
        self._answers: dict[str, list[tuple[Answer, int]]] = {}

    def keep(self, path: str, answer: Answer, moves: int) -> None:
        """Remember an answer."""
        known = self._answers.setdefault(_SINCE.sub("", path), [])
        if not known or known[-1][0].body != answer.body:
            known.append((answer, moves))

    def stale(self, path: str) -> tuple[Answer, int] | None:
        """The answer before the newest one."""
        known = self._answers.get(_SINCE.sub("", path), [])
        return known[-2] if len(known) > 1 else None


class Line(Pool):
    """Passes everything on to a pool, tells the ledger, and makes trouble."""

    def __init__(
        self,
        pool: Pool,
        world: World,
        ledger: Ledger,
        run: Run,
        past: Past,
        troubles: Troubles,
        turn: Turn = lambda _: None,
    ) -> None:
        super().__init__(pool.endpoint)
        self._pool, self._world, self._ledger, self._run, self._past = pool, world, ledger, run, past
        self._troubles, self._turn = troubles, turn
        self._counts = {"read": 0, "write": 0}
        self._thread = threading.current_thread()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """Send one request when it is this run's turn."""
        pod = _POD.search(path)
        if pod:
            return self._ask(method, pod["pod"])
        found = _ADDRESS.search(path)
        assert found is not None, path
        kind, name = found["kind"], found["name"] or ""
        if threading.current_thread() is self._thread:
            self._turn("write" if method != "GET" else "record" if kind == "configmaps" else "")
        trouble = self._trouble("read" if method == "GET" else "write")
        if trouble == "killed before":
            raise Killed
        if trouble == "unreachable":
            raise Unreachable("the API server cannot be reached: connection refused")
        if trouble in EVENTS:
            self._world.happen(trouble, kind, name)
        answer = self._pool.request(method, path, body, headers, timeout=timeout, repeatable=repeatable)
        if method == "GET":
            return self._read(kind, name, path, answer, trouble)
        if 200 <= answer.status < 300 and "dryRun=" not in path:
            self._ledger.wrote(self._run, kind, name, json.loads(answer.body))
        if trouble == "killed after":
            raise Killed
        if trouble == "unanswered":
            raise Unreachable("the API server cannot be reached: no answer in time")
        return answer

    def _trouble(self, kind: str) -> str | None:
        self._counts[kind] += 1
        return self._troubles.get(f"{kind} {self._counts[kind]}")

    def _read(self, kind: str, name: str, path: str, answer: Answer, trouble: str | None) -> Answer:
        moves = self._ledger.moves
        self._past.keep(path, answer, moves)
        old = self._past.stale(path) if trouble == "stale" else None
        if old:
            answer, moves = old
            self._run.is_misled = True
        if answer.status == 200:
            self._ledger.told(self._run, kind, name, answer.body, moves)
        return answer

    def _ask(self, method: str, pod: str) -> Answer:
        """A pod answers through the API server, as far as it answers at all."""
        if method != "GET" and self._troubles.get("drain") == "killed":
            raise Killed
        heard = self._world.answers(pod)
        if heard and method != "GET":
            self._ledger.heard(method, pod)
        return Answer(200 if heard else 503, HTTPMessage(), b"")


class Turns:
    """Two runs, one call at a time: a burst of the one, a burst of the other, and so on; at last all the rest.

    A burst is so many calls, or all until the next "write" or look at the "record" is about to be made.
    """

    def __init__(self, bursts: Sequence[int | str]) -> None:
        self._bursts = bursts
        self._go = [threading.Semaphore(0), threading.Semaphore(0)]
        self._back = threading.Semaphore(0)
        # What each is about to do, None at its end.
        self._next: list[str | None] = ["", ""]

    def wait(self, who: int, what: str) -> None:
        """Called by a run before each call."""
        self._next[who] = what
        self._back.release()
        self._go[who].acquire()

    def play(self, runs: Sequence[Callable[[], Any]]) -> None:
        """Run both to their ends. What a run raises is its own to catch."""
        threads = [threading.Thread(target=self._run, args=(who, run)) for who, run in enumerate(runs)]
        for thread in threads:
            thread.start()
            self._back.acquire()
        for number, burst in enumerate((*self._bursts, "end", "end", "end")):
            self._play(number % 2, burst)
        for thread in threads:
            thread.join()

    def _play(self, who: int, burst: int | str) -> None:
        calls = 0
        while self._next[who] is not None and calls != burst and not (calls and self._next[who] == burst):
            self._go[who].release()
            self._back.acquire()
            calls += 1

    def _run(self, who: int, run: Callable[[], Any]) -> None:
        self.wait(who, "")
        try:
            run()
        finally:
            self._next[who] = None
            self._back.release()
