# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is asking: the request id and the W3C trace context of the request being served."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST_ID = re.compile(rb"^[A-Za-z0-9._-]{1,128}$")


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's identity; `span_id` is our own, `parent_id` the caller's (empty for the first hop)."""

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    flags: str = "00"

    @classmethod
    def of(cls, request_id: bytes, traceparent: bytes) -> Trace:
        """Continue the caller's trace, or start one. What does not parse is replaced, never echoed."""
        parent = _TRACEPARENT.match(traceparent)
        if parent and parent[1] != b"0" * 32 and parent[2] != b"0" * 16 and not traceparent.startswith(b"ff"):
            trace_id, parent_id, flags = (part.decode() for part in parent.groups())
        else:
            trace_id, parent_id, flags = secrets.token_hex(16), "", "00"
        known = request_id.decode() if _REQUEST_ID.match(request_id) else trace_id
        return cls(known, trace_id, secrets.token_hex(8), parent_id, flags)

    @property
    def traceparent(self) -> str:
        """The header for outgoing calls."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
