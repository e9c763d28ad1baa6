# SPDX-License-Identifier: GPL-3.0-or-later
"""What the business wants to know about orders."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from orders.orders.service import Change
from orders.orders.transitions import FINAL, State, Step

RESULTS = ("moved", "waiting", "unavailable", "unexpected", "stale", "failed")
"""What comes of a step."""


class OrderMetrics:
    """Counters of this process, counted after the commit; gauges of the whole table, refreshed by the driver."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.placed = Counter("orders_placed", "Orders placed.", registry=registry)
        self.finished = Counter("orders_finished", "Orders that came to an end.", ["state"], registry=registry)
        self.revenue = Counter("orders_revenue_cents", "Totals of fulfilled orders.", ["currency"], registry=registry)
        self.steps = Counter("orders_driver_steps", "Steps of the driver.", ["step", "outcome"], registry=registry)
        self.unfinished = Gauge("orders_unfinished", "Orders without an end, in the database.", registry=registry)
        self.oldest = Gauge(
            "orders_oldest_unfinished_seconds", "Age of the oldest of them; 0 without any.", registry=registry
        )
        for state in sorted(FINAL):  # shown as 0 from the start: an alert needs the first one as an increase
            self.finished.labels(state)
        for step in Step:
            for result in RESULTS:
                self.steps.labels(step, result)

    def count(self, change: Change) -> None:
        """Count what a committed change means."""
        if not change.moved or change.order.state not in FINAL:
            return
        self.finished.labels(change.order.state).inc()
        if change.order.state == State.FULFILLED:
            self.revenue.labels(change.order.currency).inc(change.order.total_cents or 0)
