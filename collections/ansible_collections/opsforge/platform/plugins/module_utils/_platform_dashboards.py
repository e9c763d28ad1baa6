# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards of all services together: their health, the releases, and the work of those who operate them."""

from __future__ import annotations

from ansible_collections.opsforge.platform.plugins.module_utils import _moves
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    CRITICAL,
    FAILING,
    FULL,
    LOKI,
    TABLE,
    Dashboard,
    Panel,
    Query,
    Row,
    Scene,
    Threshold,
    Variable,
    graph,
    number,
    zero,
)
from ansible_collections.opsforge.platform.plugins.module_utils._units import (
    COUNT,
    MONEY,
    PER_SECOND,
    RATIO,
    REQUESTS_PER_SECOND,
    SECONDS,
)

_ANY = (Threshold(1),)
_BAD = Threshold(1, CRITICAL)
# The dead man's switch fires always, and nobody needs to know.
_FIRING = 'ALERTS{alertstate="firing",severity!="none"}'
_HEARD = 'ALERTS{alertname="Watchdog",alertstate="firing"}'
# Each service has one from its first release on.
_RECORDS = 'kube_configmap_labels{label_opsforge_dev_component="releases"}'


def application_health(scene: Scene) -> Dashboard:
    """How the services do, side by side."""
    labels = f'namespace="{scene.namespace}"'
    return Dashboard(
        uid="application-health",
        title="Application health",
        tells="How all services do: what is asked of them, what fails, what waits, and what the shop earns.",
        rows=(
            Row("Now", _now(labels)),
            Row("Services", _services(labels)),
            Row("Entrance", _entrance()),
            Row("Queue and events", _queues(labels)),
            Row("Shop", _shop(labels)),
        ),
        markers=True,
    )


def _now(labels: str) -> tuple[Panel, ...]:
    rate, failed = (f"sum(namespace_service:http_{kind}:rate5m{{{labels}}})" for kind in ("requests", "errors"))
    return (
        number("Requests", "Of all services.", rate, REQUESTS_PER_SECOND),
        number("Failing", "Share of all requests.", f"{failed} / ({rate} > 0) or {failed}", RATIO, *FAILING),
        number(
            "Targets of services that do not answer",
            "Pods that Prometheus cannot read.",
            zero(f'count(up{{{labels},slot!=""}} == 0)', f"up{{{labels}}}"),
            COUNT,
            *_ANY,
        ),
        number("Firing alerts", "All but the dead man's switch.", zero(f"count({_FIRING})", _HEARD), COUNT, *_ANY),
    )


def _services(labels: str) -> tuple[Panel, ...]:
    rate = f"namespace_service:http_requests:rate5m{{{labels}}}"
    return (
        graph(
            "Requests by service",
            "Answers per second.",
            f"sum by (service) ({rate})",
            "{{service}}",
            REQUESTS_PER_SECOND,
        ),
        graph(
            "Share of errors by service",
            "The share of requests that each service fails to answer (5xx).",
            f"max by (service) (namespace_service:http_errors:ratio_rate5m{{{labels}}} or 0 * {rate})",
            "{{service}}",
            RATIO,
            thresholds=FAILING,
        ),
        graph(
            "Slowest in a hundred by service",
            "Latency at the 99th percentile.",
            f"max by (service) (namespace_service:http_request_duration_seconds:p99_rate5m{{{labels}}})",
            "{{service}}",
            SECONDS,
            thresholds=_ANY,
        ),
        graph(
            "How full services are",
            "The fullest container of each service: CPU or memory, of its limit.",
            f"max by (service) (namespace_service:saturation:ratio{{{labels}}})",
            "{{service}}",
            RATIO,
            thresholds=FULL,
            top=1,
        ),
        graph(
            "Dependencies that do not answer",
            "Pods whose last check of a dependency failed.",
            f"sum by (service) (1 - dependency_up{{{labels}}})",
            "{{service}}",
            thresholds=(_BAD,),
        ),
        Panel(
            "Lines of errors",
            "What services say at level error or worse, per second.",
            (
                Query(
                    f'sum(rate({{{labels},job=~".+-service",level=~"error|critical"}}[5m])) or vector(0)',
                    "errors",
                    LOKI,
                ),
            ),
            PER_SECOND,
        ),
    )


def _entrance() -> tuple[Panel, ...]:
    listeners = 'envoy_http_conn_manager_prefix=~"https?-[0-9]+"'
    buckets = f"envoy_http_downstream_rq_time_bucket{{{listeners}}}"

    def latency(share: float) -> str:
        # Envoy counts milliseconds.
        found = f"histogram_quantile({share}, sum by (le) (rate({buckets}[5m]))) / 1000 >= 0"
        return f"{found} or 0 * gateway:http_requests:rate5m"

    return (
        graph(
            "Requests at the entrance",
            "What the gateway answers per second, by class of status.",
            f"sum by (envoy_response_code_class) (rate(envoy_http_downstream_rq_xx{{{listeners}}}[5m]))",
            "{{envoy_response_code_class}}xx",
            REQUESTS_PER_SECOND,
            stacked=True,
        ),
        Panel(
            "Latency at the entrance",
            "Half, and 99 in a hundred requests take no longer than this; 0 while there are none.",
            (Query(latency(0.5), "p50"), Query(latency(0.99), "p99")),
            SECONDS,
        ),
        graph("Connections", "Open connections of callers.", "gateway:connections:sum", "connections"),
        graph(
            "Requests by route",
            "Where the gateway sends them, per second.",
            "gateway_upstream:http_requests:rate5m",
            "{{envoy_cluster_name}}",
            REQUESTS_PER_SECOND,
        ),
        graph(
            "Share of errors by route",
            "What the gateway got back or made up (5xx).",
            "gateway_upstream:http_errors:ratio_rate5m or 0 * gateway_upstream:http_requests:rate5m",
            "{{envoy_cluster_name}}",
            RATIO,
            thresholds=FAILING,
        ),
    )


def _queues(labels: str) -> tuple[Panel, ...]:
    return (
        graph("Jobs that wait", "How deep the queue is.", f"max(namespace:queue_depth:max{{{labels}}})", "jobs"),
        graph(
            "Oldest job",
            "How long the first job has been waiting.",
            f"max(namespace:queue_oldest_age_seconds:max{{{labels}}})",
            "age",
            SECONDS,
        ),
        graph(
            "Events to come",
            "Events that a service has not handled yet.",
            f"max by (service) (namespace_service:events_lag:max{{{labels}}})",
            "{{service}}",
        ),
        graph(
            "Events that wait to leave",
            "Events that are written and not yet on the stream.",
            f"max by (service) (namespace_service:events_outbox_pending:max{{{labels}}})",
            "{{service}}",
        ),
    )


def _shop(labels: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Orders",
            "Placed and ended per second.",
            (
                Query(f"sum(namespace:orders_placed:rate5m{{{labels}}})", "placed"),
                Query(f"sum by (state) (namespace_state:orders_finished:rate5m{{{labels}}})", "{{state}}"),
            ),
            PER_SECOND,
        ),
        graph(
            "Revenue of an hour",
            "Totals of the orders that were fulfilled.",
            zero(
                f"sum by (currency) (namespace_currency:orders_revenue:increase1h{{{labels}}})",
                f"build_info{{{labels}}}",
                "currency",
            ),
            "{{currency}}",
            MONEY,
        ),
        graph(
            "Payments",
            "Payments that ended, by outcome, per second.",
            zero(
                f"sum by (outcome) (namespace_outcome:payments:rate5m{{{labels}}})",
                f"build_info{{{labels}}}",
                "outcome",
            ),
            "{{outcome}}",
            PER_SECOND,
        ),
        graph(
            "Log-ins",
            "By how they ended, per second.",
            f"sum by (outcome) (namespace_outcome:auth_logins:rate5m{{{labels}}})",
            "{{outcome}}",
            PER_SECOND,
        ),
    )


def releases(scene: Scene) -> Dashboard:
    """The old slot against the new one."""
    here = f'namespace="{scene.namespace}",service=~"$service"'
    labels = f'{here},slot=~"$slot"'
    requests = f'namespace_service_slot:http_requests:rate5m{{namespace="{scene.namespace}"}}'
    return Dashboard(
        uid="releases",
        title="Releases",
        tells="The old slot against the new one: rate, errors and latency side by side, and when traffic moved.",
        rows=(
            Row(
                "Versions",
                (
                    Panel(
                        "Where traffic is",
                        "The slot and the version that each service is served from.",
                        (Query(_moves.query(scene.namespace, chosen="$service"), "serves"),),
                        kind=TABLE,
                        width=12,
                        columns=("service", "slot", "version"),
                    ),
                    Panel(
                        "What runs",
                        "The versions in both slots, whether they have traffic or not.",
                        (Query(f"count by (service, slot, version) (build_info{{{labels}}})", "pods"),),
                        kind=TABLE,
                        width=12,
                        columns=("service", "slot", "version"),
                    ),
                ),
            ),
            Row("Old against new", _slots(labels)),
            Row(
                "Moves",
                (
                    graph(
                        "Ready pods by slot",
                        "Whether a slot could take the traffic.",
                        "sum by (deployment) (kube_deployment_status_replicas_ready"
                        f'{{namespace="{scene.namespace}",deployment=~"($service)-($slot)"}})',
                        "{{deployment}}",
                    ),
                    graph(
                        "Moves of an hour",
                        "How often traffic of a service came to the other slot within an hour.",
                        f'changes((max by (service) (namespace_service:traffic:info{{{here},slot="green"}})'
                        f" or 0 * max by (service) (namespace_service:traffic:info{{{here}}}))[1h:1m])",
                        "{{service}}",
                    ),
                ),
            ),
        ),
        tags=("releases",),
        variables=(Variable("service", "service", requests), Variable("slot", "slot", requests)),
        markers=True,
    )


def _slots(labels: str) -> tuple[Panel, ...]:
    rate = f"namespace_service_slot:http_requests:rate5m{{{labels}}}"
    ratio = f"namespace_service_slot:http_errors:ratio_rate5m{{{labels}}}"
    p99 = f"namespace_service_slot:http_request_duration_seconds:p99_rate5m{{{labels}}}"
    buckets = f"http_request_duration_seconds_bucket{{{labels}}}"
    slot, by = "{{service}} {{slot}}", "by (service, slot)"
    return (
        graph("Requests by slot", "Answers per second.", f"sum {by} ({rate})", slot, REQUESTS_PER_SECOND),
        graph(
            "Share of errors by slot",
            "Whether the new version fails more often.",
            f"max {by} ({ratio} or 0 * {rate})",
            slot,
            RATIO,
            thresholds=FAILING,
        ),
        graph(
            "Slowest in a hundred by slot",
            "Whether the new version is slower (p99).",
            f"max {by} ({p99})",
            slot,
            SECONDS,
        ),
        graph(
            "Typical latency by slot",
            "Half of the requests take no longer than this.",
            f"histogram_quantile(0.5, sum by (service, slot, le) (rate({buckets}[5m])))",
            slot,
            SECONDS,
            exemplars=True,
        ),
        graph(
            "CPU by slot",
            "The busiest container of each slot, of what it may use.",
            f"max {by} (namespace_service_slot:cpu_limit_used:ratio_rate5m{{{labels}}})",
            slot,
            RATIO,
            top=1,
        ),
        graph(
            "Memory by slot",
            "The fullest container of each slot, of its limit.",
            f"max {by} (namespace_service_slot:memory_limit_used:ratio{{{labels}}})",
            slot,
            RATIO,
            thresholds=FULL,
            top=1,
        ),
    )


def operations(scene: Scene) -> Dashboard:
    """Incidents, runbooks and what calls for them."""
    labels = f'namespace="{scene.namespace}"'
    return Dashboard(
        uid="operations",
        title="Runbooks and incidents",
        tells="What went wrong, what was done about it, and whether somebody would be told.",
        rows=(
            Row("Now", _telling(labels)),
            Row("Incidents", _incidents(labels)),
            Row("Alerts", _alerts()),
            Row("Releases", _released(labels)),
        ),
        markers=True,
    )


def _telling(labels: str) -> tuple[Panel, ...]:
    opened = f"sum(namespace_service:incidents_open:count{{{labels}}})"
    critical = 'count(ALERTS{alertstate="firing",severity="critical"})'
    failed = "sum(increase(alertmanager_notifications_failed_total[1h]))"
    return (
        number("Open incidents", "Not closed yet.", zero(opened, _RECORDS), COUNT, *_ANY),
        number("Critical alerts", "That fire.", zero(critical, _HEARD), COUNT, _BAD),
        number("Notifications that failed", "Within an hour.", failed, COUNT, _BAD),
        number(
            "Dead man's switch",
            "1 while it is heard.",
            zero(f"max({_HEARD})", "up"),
            COUNT,
            Threshold(1, CRITICAL, below=True),
        ),
    )


def _incidents(labels: str) -> tuple[Panel, ...]:
    def by(label: str, aggregation: str, metric: str) -> tuple[Query, ...]:
        expr = f"{aggregation} by ({label}) ({metric}{{{labels}}})"
        return (Query(zero(expr, _RECORDS, label), f"{{{{{label}}}}}"),)

    return (
        Panel(
            "Incidents",
            "All records, by whether they are closed.",
            by("state", "count", "namespace_incident:incident:info"),
        ),
        Panel(
            "Open incidents",
            "What is being worked on, by service.",
            by("service", "sum", "namespace_service:incidents_open:count"),
            thresholds=_ANY,
        ),
        Panel(
            "Incidents of a day",
            "How many began, by service.",
            by("service", "sum", "namespace_service:incidents_opened:count1d"),
        ),
        Panel(
            "Oldest open incident",
            "How long it has been open, by service; 0 without any.",
            by("service", "max", "namespace_incident:incident_open_seconds:max"),
            SECONDS,
        ),
        Panel(
            "Length of incidents",
            "From opening to closing, on average of those of a day; 0 without any.",
            by("service", "max", "namespace_service:incident_duration_seconds:avg1d"),
            SECONDS,
        ),
    )


def _released(labels: str) -> tuple[Panel, ...]:
    where = f"0 * max by (service) (namespace_service:traffic:info{{{labels}}})"
    return (
        graph(
            "Releases of a day",
            "How often a version was released, by service.",
            f"max by (service) (namespace_service:releases:count1d{{{labels}}}) or {where}",
            "{{service}}",
        ),
        graph(
            "Rollbacks of a day",
            "How often a release was taken back, by service.",
            f"max by (service) (namespace_service:rollbacks:count1d{{{labels}}}) or {where}",
            "{{service}}",
            thresholds=_ANY,
        ),
    )


def _alerts() -> tuple[Panel, ...]:
    def firing(label: str) -> Query:
        return Query(zero(f"count by ({label}) ({_FIRING})", _HEARD, label), f"{{{{{label}}}}}")

    return (
        Panel("Firing alerts by severity", "All but the dead man's switch.", (firing("severity"),)),
        Panel("Firing alerts by team", "Whose they are.", (firing("team"),)),
        Panel("Firing alerts by name", "What fired, and when.", (firing("alertname"),)),
        graph(
            "Notifications",
            "What Alertmanager sent per second, by how.",
            "sum by (integration) (rate(alertmanager_notifications_total[5m]))",
            "{{integration}}",
            PER_SECOND,
        ),
        graph(
            "Silences",
            "What somebody does not want to hear of.",
            'sum by (state) (alertmanager_silences{state!="expired"})',
            "{{state}}",
        ),
        graph(
            "Rules that failed",
            "Evaluations within an hour.",
            "sum(increase(prometheus_rule_evaluation_failures_total[1h]))",
            "failed",
            thresholds=_ANY,
        ),
    )
