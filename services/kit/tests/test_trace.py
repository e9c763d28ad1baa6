# SPDX-License-Identifier: GPL-3.0-or-later
"""W3C trace context: continued when it parses, replaced when it does not."""

from __future__ import annotations

import pytest

from kit.trace import Trace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_callers_trace_is_continued_with_our_own_span() -> None:
    trace = Trace.of(b"", f"00-{TRACE}-{SPAN}-01".encode())
    assert (trace.trace_id, trace.parent_id, trace.flags) == (TRACE, SPAN, "01")
    assert trace.span_id != SPAN
    assert trace.traceparent == f"00-{TRACE}-{trace.span_id}-01"
    assert trace.request_id == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
    ],
)
def test_anything_else_starts_a_new_trace(header: str) -> None:
    trace = Trace.of(b"", header.encode())
    assert trace.trace_id not in (TRACE, "0" * 32)
    assert trace.parent_id == ""
    assert len(trace.trace_id) == 32


@pytest.mark.parametrize("share, flags", [(0, "00"), (1, "01")])
def test_a_share_of_the_traces_that_start_here_is_kept(share: float, flags: str) -> None:
    assert Trace.of(b"", b"", share=share).flags == flags
    assert Trace.of(b"", f"00-{TRACE}-{SPAN}-00".encode(), share=share).flags == "00"
