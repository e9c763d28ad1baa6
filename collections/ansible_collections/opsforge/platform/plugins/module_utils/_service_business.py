# SPDX-License-Identifier: GPL-3.0-or-later
"""What each service of the shop is for, in numbers: panels for the service's own dashboard."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.opsforge.platform.plugins.module_utils._panels import Panel, Query, Threshold, zero
from ansible_collections.opsforge.platform.plugins.module_utils._units import COUNT, MONEY, PER_SECOND, SECONDS, Unit

Business = tuple[str, tuple[Panel, ...]]


def _rates(title: str, tells: str, metric: str, labels: str, *by: str) -> Panel:
    """Events per second, by these labels; 0 before the first one."""
    expr = f"sum by ({', '.join(by)}) (rate({metric}{{{labels}}}[5m]))"
    return Panel(
        title,
        tells,
        (Query(zero(expr, f"build_info{{{labels}}}", *by), " ".join(f"{{{{{name}}}}}" for name in by) or "all"),),
        PER_SECOND,
    )


def _levels(
    title: str, tells: str, metric: str, labels: str, *by: str, unit: Unit = COUNT, warning: float = 0
) -> Panel:
    """A level that each pod reports of the same thing: the highest of them."""
    query = Query(
        f"max by ({', '.join(by)}) ({metric}{{{labels}}})", " ".join(f"{{{{{name}}}}}" for name in by) or "all"
    )
    return Panel(title, tells, (query,), unit, thresholds=(Threshold(warning),) if warning else ())


def _slowest(title: str, tells: str, metric: str, labels: str, *by: str) -> Panel:
    """The 99th percentile; 0 while nothing happens."""
    grouped = ", ".join(by)
    quantile = (
        f"histogram_quantile(0.99, sum by ({', '.join((*by, 'le'))}) (rate({metric}_bucket{{{labels}}}[5m]))) >= 0"
    )
    nothing = f"0 * sum by ({grouped}) (rate({metric}_count{{{labels}}}[5m]))"
    legend = " ".join(f"{{{{{name}}}}}" for name in by) or "p99"
    return Panel(
        title, tells, (Query(zero(f"({quantile}) or {nothing}", f"build_info{{{labels}}}", *by), legend),), SECONDS
    )


def _auth(labels: str) -> Business:
    return "People and keys", (
        _rates("Sign-ups", "New users per second.", "auth_signups_total", labels),
        _rates("Log-ins", "Log-ins per second, by how they ended.", "auth_logins_total", labels, "outcome"),
        _slowest("Time to hash", "How long a password takes, with waiting (p99).", "auth_password_seconds", labels),
        _levels(
            "Age of the key",
            "How long the active key has been signing.",
            "auth_signing_key_age_seconds",
            labels,
            unit=SECONDS,
        ),
    )


def _catalog(labels: str) -> Business:
    return "Products and stock", (
        _levels("Products", "How many there are.", "catalog_products", labels, "state"),
        _rates("Reservations", "Asks about reservations per second.", "catalog_reservations_total", labels, "outcome"),
        _rates(
            "Too little stock",
            "Lines of orders that there was not enough of, per second.",
            "catalog_stock_refused_total",
            labels,
        ),
        _levels(
            "Oldest reservation",
            "Age of the oldest open one.",
            "catalog_reservation_oldest_age_seconds",
            labels,
            unit=SECONDS,
        ),
        _rates("Cache", "Reads through the cache per second.", "cache_requests_total", labels, "outcome"),
    )


def _orders(labels: str) -> Business:
    revenue = f"sum by (currency) (increase(orders_revenue_cents_total{{{labels}}}[1h])) / 100"
    return "Orders", (
        _rates("Orders placed", "New orders per second.", "orders_placed_total", labels),
        _rates("Orders that ended", "By how they ended, per second.", "orders_finished_total", labels, "state"),
        Panel(
            "Revenue of an hour",
            "Totals of the orders that were fulfilled.",
            (Query(zero(revenue, f"build_info{{{labels}}}", "currency"), "{{currency}}"),),
            MONEY,
        ),
        _levels("Unfinished orders", "Orders without an end.", "orders_unfinished", labels),
        _levels(
            "Oldest unfinished order",
            "Its age; 0 without any.",
            "orders_oldest_unfinished_seconds",
            labels,
            unit=SECONDS,
            warning=300,
        ),
        _rates(
            "Steps",
            "Steps of the driver per second, by result.",
            "orders_driver_steps_total",
            labels,
            "step",
            "outcome",
        ),
        _levels("Events that wait", "Events not yet on the stream.", "events_outbox_pending", labels),
    )


def _payments(labels: str) -> Business:
    captured = f"sum by (currency) (increase(payments_captured_cents_total{{{labels}}}[1h])) / 100"
    return "Payments", (
        _rates("Payments that ended", "By outcome, per second.", "payments_total", labels, "outcome"),
        Panel(
            "Captured in an hour",
            "What was taken from customers.",
            (Query(zero(captured, f"build_info{{{labels}}}", "currency"), "{{currency}}"),),
            MONEY,
        ),
        _slowest("Provider", "How long the provider takes (p99).", "payments_provider_seconds", labels, "operation"),
        _levels(
            "Oldest unfinished payment",
            "Its age; 0 without any.",
            "payments_unfinished_age_seconds",
            labels,
            unit=SECONDS,
            warning=300,
        ),
        _rates(
            "Webhooks", "Calls of the provider per second, by outcome.", "payments_webhooks_total", labels, "outcome"
        ),
        Panel(
            "Differences",
            "What our books and the provider's do not agree on.",
            (
                Query(
                    zero(f"max by (kind) (payments_differences{{{labels}}})", f"build_info{{{labels}}}", "kind"),
                    "{{kind}}",
                ),
            ),
            thresholds=(Threshold(1),),
        ),
        _levels("Events that wait", "Events not yet on the stream.", "events_outbox_pending", labels),
    )


def _notifications(labels: str) -> Business:
    return "Notifications", (
        _rates("Stored", "Notifications per second.", "notifications_total", labels, "template", "channel"),
        _rates(
            "Deliveries",
            "Attempts to hand a mail over, per second.",
            "notifications_deliveries_total",
            labels,
            "outcome",
        ),
        _slowest("Time of a delivery", "How long such an attempt takes (p99).", "notifications_send_seconds", labels),
        _levels("Mails that wait", "How many.", "notifications_queued", labels),
        _levels(
            "Oldest mail",
            "How long it has been waiting.",
            "notifications_queued_age_seconds",
            labels,
            unit=SECONDS,
            warning=300,
        ),
        _levels("Mails given up", "Nobody gets them until somebody looks.", "notifications_dead", labels, warning=1),
    )


def _analytics(labels: str) -> Business:
    return "Events", (
        _rates("Events", "Events per second, by who brought them.", "analytics_events_total", labels, "via", "outcome"),
        _levels("Events to come", "Events not handled yet.", "events_lag", labels, "group"),
        _slowest("Time of an event", "How long one takes (p99).", "events_handle_seconds", labels, "group"),
        _levels("Events put aside", "What could not be handled.", "events_dead", labels, "group", warning=1),
    )


def _jobs(labels: str) -> Business:
    return "Queue", (
        _levels("Depth", "Jobs that wait for a worker.", "queue_depth", labels),
        _levels(
            "Oldest job",
            "How long the first of them has been waiting.",
            "queue_oldest_age_seconds",
            labels,
            unit=SECONDS,
            warning=10,
        ),
        _levels("Jobs that are not done", "By state.", "queue_jobs", labels, "state"),
        _levels("Workers", "Workers heard of lately.", "queue_workers", labels),
    )


def _worker(labels: str) -> Business:
    return "Jobs", (
        _rates("Runs that ended", "By outcome, per second.", "jobs_total", labels, "outcome"),
        _rates("Runs by kind", "Runs per second.", "jobs_total", labels, "kind"),
        _slowest("Time to run", "How long a job takes (p99).", "job_duration_seconds", labels, "kind"),
        _slowest("Time to wait", "From ready to begun (p99).", "job_wait_seconds", labels, "kind"),
    )


# By the name of the service; one that is not here has no row of its own.
BUSINESS: dict[str, Callable[[str], Business]] = {
    "auth": _auth,
    "catalog": _catalog,
    "orders": _orders,
    "payments": _payments,
    "notifications": _notifications,
    "analytics": _analytics,
    "jobs": _jobs,
    "worker": _worker,
}
