# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is asking: the request id and the W3C trace context of the request being served."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from random import getrandbits, random

_TRACEPARENT = re.compile(rb"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST_ID = re.compile(rb"^[A-Za-z0-9._-]{1,128}$")


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
        known = request_id.decode() if request_id and _REQUEST_ID.match(request_id) else trace_id
        return cls(known, trace_id, _new_span_id(), parent_id, flags)

    def child(self) -> Trace:
        """Name the next step, whose parent is this one: a call that we make."""
        return Trace(self.request_id, self.trace_id, _new_span_id(), self.span_id, self.flags)

    @property
    def traceparent(self) -> str:
        """The header for outgoing calls."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    @property
    def sampled(self) -> bool:
        """Tell whether somebody asked for the spans of this trace."""
        return int(self.flags, 16) & 1 == 1


def _new_span_id() -> str:
    # Not a secret: it need be unique, not unguessable, and that is five times cheaper.
    return f"{getrandbits(64):016x}"


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
