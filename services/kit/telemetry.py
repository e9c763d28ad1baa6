# SPDX-License-Identifier: GPL-3.0-or-later
"""Traces for a collector (OTLP over HTTP) where one is named; without one nothing is imported and nothing costs.

A span is made when it is over, from the ids that `kit.trace` gave it: logs, headers and spans name the same trace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Literal

from kit.settings import Settings
from kit.trace import Trace

Kind = Literal["SERVER", "CLIENT", "CONSUMER"]

_exporter: _Exporter | None = None  # one for the process, as OpenTelemetry's own


def start(settings: Settings) -> None:
    """Export spans from now on, if the settings name a collector."""
    global _exporter
    if settings.otlp_endpoint:
        _exporter = _Exporter(settings)


async def stop() -> None:
    """Send what is left and end; a collector that does not answer is not waited for longer than some seconds."""
    global _exporter
    if _exporter:
        exporter, _exporter = _exporter, None
        await asyncio.to_thread(exporter.close)


def active() -> bool:
    """Tell whether spans are exported."""
    return _exporter is not None


def record(
    kind: Kind, name: str, trace: Trace, *, begun: float, failed: bool, attributes: Mapping[str, str | int]
) -> None:
    """Make the span of something that ends just now; `begun` is what `time.perf_counter` said when it began."""
    if _exporter and trace.sampled:
        _exporter.record(kind, name, trace, begun=begun, failed=failed, attributes=attributes)


class _Exporter:
    def __init__(self, settings: Settings) -> None:
        # Imported here: they take memory and time that few need.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        class OurIds(IdGenerator):
            """Gives the ids of the span being made; one thread makes them all."""

            trace: Trace

            def generate_trace_id(self) -> int:
                return int(self.trace.trace_id, 16)

            def generate_span_id(self) -> int:
                return int(self.trace.span_id, 16)

        self._ids = OurIds()
        resource = {
            "service.name": settings.service,
            "service.version": settings.version,
            "opsforge.slot": settings.slot,
        }
        self._provider = TracerProvider(
            resource=Resource.create(resource), id_generator=self._ids, shutdown_on_exit=False
        )
        endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=2)))
        self._tracer = self._provider.get_tracer("kit")

    def record(
        self, kind: Kind, name: str, trace: Trace, *, begun: float, failed: bool, attributes: Mapping[str, str | int]
    ) -> None:
        from opentelemetry.trace import (
            NonRecordingSpan,
            SpanContext,
            SpanKind,
            StatusCode,
            TraceFlags,
            set_span_in_context,
        )

        ended = time.time_ns()
        parent = None
        if trace.parent_id:
            context = SpanContext(
                int(trace.trace_id, 16), int(trace.parent_id, 16), True, TraceFlags(TraceFlags.SAMPLED)
            )
            parent = set_span_in_context(NonRecordingSpan(context))
        self._ids.trace = trace
        span = self._tracer.start_span(
            name, parent, SpanKind[kind], dict(attributes), start_time=ended - int((time.perf_counter() - begun) * 1e9)
        )
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    def close(self) -> None:
        self._provider.shutdown()
