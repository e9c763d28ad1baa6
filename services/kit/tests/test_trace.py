# SPDX-License-Identifier: GPL-3.0-or-later
"""W3C trace context: continued when it parses, replaced when it does not; kept for work that is done later."""

from __future__ import annotations

import pytest

from kit.trace import Trace, left_trace, resume, tracing

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


REQUEST = "5e0a3b1c-8f14-4b6e-9d59-2f6f0a7c1b11"


def test_work_that_is_left_goes_on_for_the_same_request() -> None:
    assert left_trace() == ""
    with tracing(Trace.of(REQUEST.encode(), f"00-{TRACE}-{SPAN}-01".encode())) as begun:
        left = left_trace()
    later = resume(left)
    assert (later.request_id, later.trace_id, later.parent_id) == (REQUEST, TRACE, begun.span_id)
    assert (later.flags, later.span_id != begun.span_id) == ("01", True)


def test_a_version_that_stored_the_trace_alone_reads_and_is_read() -> None:
    trace = Trace.of(REQUEST.encode(), f"00-{TRACE}-{SPAN}-01".encode())
    assert Trace.of(b"", trace.stored.encode()).trace_id == TRACE
    assert (resume(trace.traceparent).request_id, resume(trace.traceparent).trace_id) == (TRACE, TRACE)


@pytest.mark.parametrize("said", ["", "x" * 129, "a b", 'a"b', "a\n", "ä", " ", "\0"])
def test_a_stored_request_that_is_none_is_replaced_and_not_echoed(said: str) -> None:
    assert resume(f"00-{TRACE}-{SPAN}-01 {said}").request_id == TRACE


@pytest.mark.parametrize("stored", ["", " ", REQUEST, f"garbage {REQUEST}"])
def test_where_nothing_is_stored_the_current_work_goes_on_or_begins(stored: str) -> None:
    assert resume(stored).trace_id != TRACE
    with tracing(Trace.of(b"r1", f"00-{TRACE}-{SPAN}-01".encode())) as here:
        assert resume(stored) is here
        assert resume(here.stored) is here
        assert resume(f"00-{TRACE}-{SPAN}-01 r2").request_id == "r2"
