# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is asking: the request id and the W3C trace context of the request being served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from random import getrandbits, random

_TRACEPARENT = re.compile(rb"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


@dataclass(slots=True)
class Trace:
    """One request's identity; `span_id` is our own, `parent_id` the caller's (empty for the first hop)."""

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    flags: str = "00"

    @classmethod
    def of(cls, request_id: bytes, traceparent: bytes, *, share: float = 0) -> Trace:
        """Continue the caller's trace, or start one. What does not parse is replaced, never echoed.

        `share` is how many of the traces that start here are kept, from 0 to 1; a caller decides on its own,
        and callers outside do not get here with one: the entrance takes it off.
        """
        if parent := _TRACEPARENT.match(traceparent):
            trace_id, parent_id, flags = parent[1].decode(), parent[2].decode(), parent[3].decode()
        else:
            trace_id, parent_id, flags = f"{getrandbits(128):032x}", "", "01" if random() < share else "00"
        known = request_id.decode() if _REQUEST_ID.fullmatch(request_id) else trace_id
        return cls(known, trace_id, _new_span_id(), parent_id, flags)

    def child(self) -> Trace:
        """Name the next step, whose parent is this one: a call that we make."""
        return Trace(self.request_id, self.trace_id, _new_span_id(), self.span_id, self.flags)

    @property
    def traceparent(self) -> str:
        """The header for outgoing calls."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    @property
    def stored(self) -> str:
        """What is kept beside work that is done later, for `resume`: the trace, and the request it follows from.

        They are two ids, for the entrance names requests and a caller may have begun the trace. A version that
        stored the first alone reads no further than that.
        """
        return f"{self.traceparent} {self.request_id}"

    @property
    def sampled(self) -> bool:
        """Tell whether somebody asked for the spans of this trace."""
        return int(self.flags, 16) & 1 == 1


def _new_span_id() -> str:
    # Not a secret: it need be unique, not unguessable, and that is five times cheaper.
    return f"{getrandbits(64):016x}"


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)


def left_trace() -> str:
    """What to store beside work that is left for later; empty outside of any request."""
    trace = current_trace.get()
    return trace.stored if trace else ""


def resume(stored: str) -> Trace:
    """Continue for the request that left `stored`; whoever is at work for it already goes on as it is.

    What was stored is read as strictly as what callers send. Where it names no trace the current one goes on, or a
    new one begins.
    """
    traceparent, _, request_id = stored.partition(" ")
    left, here = Trace.of(request_id.encode(), traceparent.encode()), current_trace.get()
    if here and (not left.parent_id or (left.trace_id, left.request_id) == (here.trace_id, here.request_id)):
        return here
    return left


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Make it the current one, for our lines and calls."""
    before = current_trace.set(trace)
    try:
        yield trace
    finally:
        current_trace.reset(before)
