# SPDX-License-Identifier: GPL-3.0-or-later
"""Events between services: written with the change they tell of, carried by a Redis stream, handled at least once.

`publish` adds an event to the transaction of the change (outbox.py), `Relay` moves it to the stream (relay.py),
`Consumer` hands it over and tries again until it is handled or put aside (consumer.py).
"""

from __future__ import annotations

from kit.events.consumer import Consumer, DeadEvent
from kit.events.event import DEAD, STREAM, Event
from kit.events.outbox import OutboxEvent, create_outbox, drop_outbox, publish
from kit.events.relay import Relay

__all__ = [
    "DEAD",
    "STREAM",
    "Consumer",
    "DeadEvent",
    "Event",
    "OutboxEvent",
    "Relay",
    "create_outbox",
    "drop_outbox",
    "publish",
]
