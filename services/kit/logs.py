# SPDX-License-Identifier: GPL-3.0-or-later
"""One JSON object a line on stdout, for our own events and for every library's."""

from __future__ import annotations

import logging
import sys
import time
from json import dumps

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from kit.settings import Settings
from kit.trace import Trace, current_trace


def configure_logging(settings: Settings) -> None:
    """Send everything to stdout as JSON. Called once, by the process that serves or migrates."""
    who = {"service": settings.service, "version": settings.version, "slot": settings.slot}

    def add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.update(who)
        if trace := current_trace.get():
            event.update(request_id=trace.request_id, trace_id=trace.trace_id, span_id=trace.span_id)
        return event

    processors: list[Processor] = [
        add_context,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        # Local variables hold passwords and tokens: they stay out.
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=20)),
    ]
    render = structlog.processors.JSONRenderer()
    level = logging.getLevelName(settings.log_level.upper())
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    # Both say at length what our own lines say once.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


class AccessLog:
    """The line of each request. Written by hand: through all processors it would take as long as a small request."""

    def __init__(self, settings: Settings) -> None:
        self._level = logging.getLevelName(settings.log_level.upper())
        who = {"service": settings.service, "version": settings.version, "slot": settings.slot}
        self._end = f',"event":"request",{dumps(who)[1:-1]}}}\n'
        self._second, self._date = 0, ""

    def write(
        self, trace: Trace, *, method: str, path: str, route: str, status: int, seconds: float, client: str
    ) -> None:
        """Write one line, at level error for a status of 500 and more."""
        level = logging.ERROR if status >= 500 else logging.INFO
        if level < self._level:
            return
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._date = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        # What a caller chose goes through `dumps`; ids are hexadecimal or matched a pattern.
        sys.stdout.write(
            f'{{"time":"{self._date}.{int((now - second) * 1e6):06}Z","level":"{_LEVELS[level]}",'
            f'"request_id":"{trace.request_id}","trace_id":"{trace.trace_id}","span_id":"{trace.span_id}",'
            f'"method":{dumps(method)},"path":{dumps(path)},"route":{dumps(route)},"status":{status},'
            f'"seconds":{seconds:.6f},"client":{dumps(client)}{self._end}'
        )
        sys.stdout.flush()


_LEVELS = {logging.INFO: "info", logging.ERROR: "error"}
