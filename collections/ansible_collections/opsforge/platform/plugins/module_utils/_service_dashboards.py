# SPDX-License-Identifier: GPL-3.0-or-later
"""One dashboard for each service: what is asked of it, how it answers, what it needs, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _slo_panels
from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    CRITICAL,
    FAILING,
    FULL,
    HEATMAP,
    LOGS,
    LOKI,
    TABLE,
    Dashboard,
    Panel,
    Query,
    Row,
    Scene,
    Threshold,
    graph,
    number,
)
from ansible_collections.opsforge.platform.plugins.module_utils._service_business import BUSINESS
from ansible_collections.opsforge.platform.plugins.module_utils._units import (
    BYTES,
    CORES,
    PER_SECOND,
    RATIO,
    REQUESTS_PER_SECOND,
    SECONDS,
)


def dashboards(scene: Scene) -> list[Dashboard]:
    """The dashboard of each service."""
    return [_dashboard(name, entry, scene.namespace) for name, entry in scene.services.items()]


def uid(service: str) -> str:
    """Where the dashboard of a service is."""
    return f"service-{service}"


def _dashboard(service: str, entry: Mapping[str, Any], namespace: str) -> Dashboard:
    labels = f'namespace="{namespace}",service="{service}"'
    pods = f'namespace="{namespace}",pod=~"{service}-(blue|green)-.+"'
    answers = entry.get("strategy") != "worker"
    rows = [
        *([_requests(labels, entry), _slots(labels)] if answers else []),
        *([Row(*BUSINESS[service](labels))] if service in BUSINESS else []),
        *_slo_panels.of_service(service, entry),
        _saturation(labels, pods, entry),
        _dependencies(labels, entry),
        _pods(labels, pods, namespace, service),
        _logs(service, namespace),
    ]
    return Dashboard(
        uid=uid(service),
        title=f"Service {service}",
        tells=f"What is asked of {service}, how it answers, what it needs and what it says.",
        rows=tuple(rows),
        tags=("service",),
        markers=True,
        service=service,
    )


def _requests(labels: str, entry: Mapping[str, Any]) -> Row:
    rate = f"namespace_service:http_requests:rate5m{{{labels}}}"
    errors = f"namespace_service:http_errors:ratio_rate5m{{{labels}}} or 0 * {rate}"
    buckets = f"http_request_duration_seconds_bucket{{{labels}}}"
    promised = entry.get("slo")
    slow = (Threshold(promised["latency_seconds"]),) if promised else ()

    def latency(share: int) -> str:
        return f"namespace_service:http_request_duration_seconds:p{share}_rate5m{{{labels}}}"

    return Row(
        "Requests, errors, duration",
        (
            number("Requests", "Per second, now.", rate, REQUESTS_PER_SECOND),
            number("Errors", "Share of requests that failed.", errors, RATIO, *FAILING),
            number("p99", "99 in a hundred requests take no longer.", latency(99), SECONDS, *slow),
            graph(
                "Requests by status",
                "How many requests are answered per second, by status.",
                f"sum by (status) (rate(http_requests_total{{{labels}}}[5m]))",
                "{{status}}",
                REQUESTS_PER_SECOND,
                stacked=True,
            ),
            graph(
                "Share of errors",
                "The share of requests that the service fails to answer (5xx).",
                errors,
                "errors",
                RATIO,
                thresholds=FAILING,
            ),
            Panel(
                "Latency",
                "Half, 95 and 99 in a hundred requests take no longer than this.",
                (
                    Query(latency(50), "p50"),
                    Query(latency(95), "p95"),
                    # What is recorded has no exemplars.
                    Query(f"histogram_quantile(0.99, sum by (le) (rate({buckets}[5m])))", "p99"),
                ),
                SECONDS,
                thresholds=slow,
                exemplars=True,
            ),
            graph(
                "Requests by route",
                "Which routes are asked for, per second.",
                f"sum by (route) (namespace_service_route:http_requests:rate5m{{{labels}}})",
                "{{route}}",
                REQUESTS_PER_SECOND,
            ),
            graph(
                "Slowest routes",
                "99 in a hundred requests of a route take no longer than this; 0 while there are none.",
                f"(max by (route) (namespace_service_route:http_request_duration_seconds:p99_rate5m{{{labels}}}) >= 0)"
                f" or 0 * sum by (route) (namespace_service_route:http_requests:rate5m{{{labels}}})",
                "{{route}}",
                SECONDS,
            ),
            graph(
                "Latency, all of it",
                "How many requests per second took how long: the darker, the more.",
                f"sum by (le) (rate({buckets}[5m]))",
                "{{le}}",
                SECONDS,
                kind=HEATMAP,
                exemplars=True,
            ),
        ),
    )


def _slots(labels: str) -> Row:
    rate = f"namespace_service_slot:http_requests:rate5m{{{labels}}}"
    ratio = f"namespace_service_slot:http_errors:ratio_rate5m{{{labels}}} or 0 * {rate}"
    p99 = f"namespace_service_slot:http_request_duration_seconds:p99_rate5m{{{labels}}}"
    return Row(
        "By slot",
        (
            graph(
                "Requests by slot", "Who has the traffic.", f"sum by (slot) ({rate})", "{{slot}}", REQUESTS_PER_SECOND
            ),
            graph(
                "Share of errors by slot",
                "Whether the new version fails more often than the old one.",
                f"max by (slot) ({ratio})",
                "{{slot}}",
                RATIO,
                thresholds=FAILING,
            ),
            graph(
                "Slowest in a hundred by slot",
                "Whether the new version is slower than the old one (p99).",
                f"max by (slot) ({p99})",
                "{{slot}}",
                SECONDS,
            ),
        ),
    )


def _saturation(labels: str, pods: str, entry: Mapping[str, Any]) -> Row:
    more = []
    if entry.get("strategy") != "worker":
        in_flight = f"sum by (pod) (http_requests_in_flight{{{labels}}})"
        more.append(graph("In flight", "Requests that are being answered at a moment.", in_flight, "{{pod}}"))
    if entry.get("database") or entry.get("database_of"):
        taken, most = (
            f'max by (pod) (database_pool_connections{{{labels},state="{state}"}})' for state in ("in_use", "limit")
        )
        tells = "Connections in use, of those that a pod may have; at 100% requests wait for one."
        more.append(graph("Database connections", tells, f"{taken} / {most}", "{{pod}}", RATIO, thresholds=FULL, top=1))
    return Row(
        "Saturation",
        (
            graph(
                "CPU",
                "Processor time that each pod uses.",
                f"sum by (pod) (namespace_pod_container:cpu_used:rate5m{{{pods}}})",
                "{{pod}}",
                CORES,
            ),
            graph(
                "Memory",
                "What each pod holds on to.",
                f"sum by (pod) (namespace_pod_container:memory_used_bytes:max{{{pods}}})",
                "{{pod}}",
                BYTES,
            ),
            graph(
                "Memory of its limit",
                "At 100% a container is killed.",
                f"max by (pod) (namespace_pod_container:memory_limit_used:ratio{{{pods}}})",
                "{{pod}}",
                RATIO,
                thresholds=FULL,
                top=1,
            ),
            *more,
        ),
    )


def _dependencies(labels: str, entry: Mapping[str, Any]) -> Row:
    up = graph(
        "Dependencies that answer",
        "1 while the last check of a dependency passed in each pod.",
        f"min by (dependency) (dependency_up{{{labels}}})",
        "{{dependency}}",
        thresholds=(Threshold(1, CRITICAL, below=True),),
        top=1,
    )
    if not entry.get("calls"):
        return Row("Dependencies", (up,))
    name, by = "{{dependency}}", "by (dependency)"
    rate = f"namespace_service_dependency:client_requests:rate5m{{{labels}}}"
    ratio = f"namespace_service_dependency:client_errors:ratio_rate5m{{{labels}}}"
    p99 = f"namespace_service_dependency:client_request_duration_seconds:p99_rate5m{{{labels}}}"
    # A client counts from its first call on, and knows its circuits from the start.
    circuits = f"client_circuit_open{{{labels}}}"
    return Row(
        "Dependencies",
        (
            up,
            graph(
                "Calls",
                "Calls of other services per second.",
                f"sum {by} ({rate}) or 0 * max {by} ({circuits})",
                name,
                REQUESTS_PER_SECOND,
            ),
            graph(
                "Share of calls that failed",
                "Calls that got no answer, or an error; 0 while there are none.",
                f"max {by} ({ratio}) or 0 * max {by} ({circuits})",
                name,
                RATIO,
                thresholds=FAILING,
            ),
            graph(
                "Time of calls",
                "99 in a hundred calls take no longer than this; 0 while there are none.",
                f"max {by} ({p99} >= 0) or 0 * max {by} ({circuits})",
                name,
                SECONDS,
            ),
            graph(
                "Open circuits",
                "1 while one of the pods does not even try to call a dependency.",
                f"max {by} ({circuits})",
                name,
                thresholds=(Threshold(1),),
                top=1,
            ),
        ),
    )


def _pods(labels: str, pods: str, namespace: str, service: str) -> Row:
    slots = f'namespace="{namespace}",deployment=~"{service}-(blue|green)"'
    return Row(
        "Pods",
        (
            graph(
                "Ready pods",
                "Pods of each slot that take traffic, or could.",
                f"sum by (deployment) (kube_deployment_status_replicas_ready{{{slots}}})",
                "{{deployment}}",
            ),
            graph(
                "Restarts",
                "Restarts of each pod's containers within an hour.",
                f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{pods}}}[1h]))",
                "{{pod}}",
                thresholds=(Threshold(1), Threshold(3, CRITICAL)),
            ),
            Panel(
                "Versions",
                "What runs in each slot.",
                (Query(f"count by (slot, version) (build_info{{{labels}}})", "pods"),),
                kind=TABLE,
                columns=("slot", "version"),
            ),
        ),
    )


def _logs(service: str, namespace: str) -> Row:
    stream = f'{{namespace="{namespace}",job="{service}-service"}}'
    return Row(
        "Logs",
        (
            Panel(
                "Lines by level",
                "What the service says per second, by how bad it is.",
                (Query(f"sum by (level) (rate({stream}[5m]))", "{{level}}", LOKI),),
                PER_SECOND,
            ),
            Panel(
                "Latest lines",
                "The newest lines; the request id and the trace id lead to the same request elsewhere.",
                (Query(stream, source=LOKI),),
                kind=LOGS,
                width=24,
            ),
        ),
    )
