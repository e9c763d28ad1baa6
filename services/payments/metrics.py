# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class PaymentMetrics:
    """What an operator wants to know about money."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.finished = Counter("payments", "Payments that ended.", ["outcome"], registry=registry)
        for outcome in (
            "captured",
            "failed",
        ):  # shown as 0 from the start: the first failure must be seen as an increase
            self.finished.labels(outcome)
        self.captured_cents = Counter(
            "payments_captured_cents", "Amount captured, in hundredths.", ["currency"], registry=registry
        )
        self.contradictions = Counter(
            "payments_contradictions", "Reports that would undo an end, or differ in amount.", registry=registry
        )
        self.webhooks = Counter("payments_webhooks", "Calls to the webhook.", ["outcome"], registry=registry)
        self.provider_seconds = Histogram(
            "payments_provider_seconds", "Time the provider took.", ["operation", "outcome"], registry=registry
        )
        self.unfinished = Gauge("payments_unfinished", "Payments with no end yet.", registry=registry)
        self.unfinished_age = Gauge(
            "payments_unfinished_age_seconds", "Age of the oldest payment with no end.", registry=registry
        )
        self.differences = Gauge(
            "payments_differences", "Differences found by the last reconciliation.", ["kind"], registry=registry
        )
        self.reconciled = Gauge(
            "payments_reconciled_timestamp_seconds", "When the books were last compared.", registry=registry
        )
