# SPDX-License-Identifier: GPL-3.0-or-later
"""Dashboards of what the services run on: the cluster's health, the signs of failure, and how much room is left."""

from __future__ import annotations

from ansible_collections.opsforge.platform.plugins.module_utils._panels import (
    CRITICAL,
    FAILING,
    FULL,
    Dashboard,
    Panel,
    Query,
    Row,
    Scene,
    Threshold,
    graph,
    number,
    zero,
)
from ansible_collections.opsforge.platform.plugins.module_utils._units import (
    BYTES,
    BYTES_PER_SECOND,
    CORES,
    COUNT,
    PER_SECOND,
    RATIO,
    REQUESTS_PER_SECOND,
    SECONDS,
)

_ANY = (Threshold(1),)
_BAD = (Threshold(1, CRITICAL),)
_LESS_THAN_ALL = Threshold(1, CRITICAL, below=True)
_READY = 'kube_node_status_condition{condition="Ready",status="true"}'
_FREE = 'node_filesystem_avail_bytes{fstype!~"tmpfs|squashfs|iso9660"}'
# Whoever shows this shows all other states of pods.
_PODS = "kube_pod_info"
_POD = ("namespace", "pod")
_SCALER = "horizontalpodautoscaler"


def cluster_health(_: Scene) -> Dashboard:
    """The nodes, the control plane, the datastores and the mirror."""
    return Dashboard(
        uid="cluster-health",
        title="Cluster health",
        tells="Whether nodes, control plane, datastores and mirror are well, and how much they have to do.",
        rows=(
            Row(
                "Now",
                (
                    number("Nodes that are ready", "Of all.", f"avg(max by (node) ({_READY}))", RATIO, _LESS_THAN_ALL),
                    number("Targets that answer", "Of all that are read.", "avg(up)", RATIO, Threshold(1, below=True)),
                    number(
                        "Pods that do not run",
                        "Pending, failed or unknown.",
                        'sum(kube_pod_status_phase{phase=~"Pending|Failed|Unknown"})',
                        COUNT,
                        *_ANY,
                    ),
                    number("etcd has a leader", "1: it has.", "min(etcd_server_has_leader)", COUNT, _LESS_THAN_ALL),
                ),
            ),
            Row("Nodes", _nodes()),
            Row("Control plane", _control_plane()),
            Row("Datastores", _datastores()),
            Row("Mirror", _mirror()),
            Row(
                "Pods",
                (
                    graph(
                        "Pods by phase", "All of the cluster.", "sum by (phase) (kube_pod_status_phase)", "{{phase}}"
                    ),
                    graph(
                        "Pods by node", "What each kubelet runs.", "max by (node) (kubelet_running_pods)", "{{node}}"
                    ),
                    graph(
                        "Missing replicas",
                        "Pods that a Deployment wants and does not have.",
                        "sum by (namespace) (kube_deployment_spec_replicas"
                        " - on (namespace, deployment) kube_deployment_status_replicas_available)",
                        "{{namespace}}",
                        thresholds=_ANY,
                    ),
                ),
            ),
        ),
    )


def _nodes() -> tuple[Panel, ...]:
    return (
        _used("CPU", "Busy processors.", "node:cpu_used:ratio_rate5m"),
        _used("Memory", "What nobody else could have.", "node:memory_used:ratio"),
        _used(
            "Disks",
            "How full the fullest file system of each node is.",
            "max by (node) (node_mountpoint:filesystem_used:ratio)",
        ),
        graph(
            "Load",
            "Processes that run or wait, for each processor: above 1 some wait.",
            "node:cpu_load:ratio",
            "{{node}}",
            thresholds=(Threshold(2),),
        ),
        graph(
            "Busy disks",
            "Share of the time in which a disk had something to do.",
            "max by (node) (node_device:disk_busy:ratio_rate5m)",
            "{{node}}",
            RATIO,
            thresholds=FULL,
        ),
        Panel(
            "Network",
            "What each node receives and sends.",
            (
                Query("node:network_receive_bytes:rate5m", "{{node}} in"),
                Query("node:network_transmit_bytes:rate5m", "{{node}} out"),
            ),
            BYTES_PER_SECOND,
        ),
    )


def _control_plane() -> tuple[Panel, ...]:
    return (
        graph(
            "Requests of the API",
            "What the API server is asked, per second.",
            "verb:apiserver_requests:rate5m",
            "{{verb}}",
            REQUESTS_PER_SECOND,
        ),
        graph(
            "Share of errors of the API",
            "Requests that the API server failed to answer (5xx).",
            "cluster:apiserver_errors:ratio_rate5m",
            "errors",
            RATIO,
            thresholds=FAILING,
        ),
        graph(
            "Time of the API",
            "What a request takes on average, without those that are meant to take long.",
            "verb:apiserver_request_duration_seconds:mean_rate5m",
            "{{verb}}",
            SECONDS,
        ),
        Panel(
            "etcd writes to disk",
            "How long 99 in a hundred writes take, of its log and of its database.",
            (
                Query("max(instance:etcd_wal_fsync_duration_seconds:p99_rate5m)", "log"),
                Query("max(instance:etcd_backend_commit_duration_seconds:p99_rate5m)", "database"),
            ),
            SECONDS,
            thresholds=(Threshold(0.5),),
        ),
        graph(
            "Room in etcd",
            "Of the size that etcd may have; at 100% it takes no more writes.",
            "instance:etcd_database_used:ratio",
            "{{instance}}",
            RATIO,
            thresholds=FULL,
            top=1,
        ),
        graph(
            "Cluster DNS",
            "Answers per second, by kind.",
            "sum by (rcode) (rate(coredns_dns_responses_total[5m]))",
            "{{rcode}}",
            PER_SECOND,
        ),
    )


def _datastores() -> tuple[Panel, ...]:
    return (
        graph(
            "Connections of PostgreSQL",
            "Of those that it may have.",
            "max(instance:pg_connections_used:ratio)",
            "used",
            RATIO,
            thresholds=FULL,
            top=1,
        ),
        graph("Transactions", "Per second, by database.", "datname:pg_transactions:rate5m", "{{datname}}", PER_SECOND),
        graph(
            "Reads from memory",
            "Share of a database's reads that need no disk.",
            "datname:pg_cache_hits:ratio_rate5m",
            "{{datname}}",
            RATIO,
            top=1,
        ),
        graph("Redis", "Commands per second.", "sum(instance:redis_commands:rate5m)", "commands", PER_SECOND),
        graph("Memory of Redis", "What it holds.", "max(redis_memory_used_bytes)", "used", BYTES),
    )


def _mirror() -> tuple[Panel, ...]:
    return (
        graph(
            "Requests of the mirror",
            "What the registry answers per second, by status.",
            "code:mirror_requests:rate5m",
            "{{code}}",
            REQUESTS_PER_SECOND,
        ),
        graph(
            "Sent by the mirror",
            "What nodes pull of it.",
            "cluster:mirror_sent_bytes:rate5m",
            "sent",
            BYTES_PER_SECOND,
        ),
    )


def failure_signals(scene: Scene) -> Dashboard:
    """What never happens on a good day."""
    return Dashboard(
        uid="failure-signals",
        title="Failure signals",
        tells="What never happens on a good day: each line above 0 is worth a look.",
        rows=(
            Row("Pods", _broken_pods()),
            Row("Services", _broken_services(scene.namespace)),
            Row(
                "Platform",
                (
                    graph(
                        "Targets that do not answer",
                        "What Prometheus cannot read.",
                        zero("count by (job) (up == 0)", "up", "job"),
                        "{{job}}",
                        thresholds=_ANY,
                    ),
                    graph(
                        "Nodes that are not ready",
                        "1 for each of them.",
                        f"1 - max by (node) ({_READY})",
                        "{{node}}",
                        thresholds=_BAD,
                        top=1,
                    ),
                    graph(
                        "Nodes under pressure",
                        "Nodes that are short of memory, disk or processes.",
                        'sum by (condition) (kube_node_status_condition{condition=~".*Pressure",status="true"})',
                        "{{condition}}",
                        thresholds=_ANY,
                    ),
                ),
            ),
        ),
        markers=True,
    )


def _broken_pods() -> tuple[Panel, ...]:
    pod = "{{namespace}} {{pod}}"
    return (
        graph(
            "Restarts",
            "Restarts of containers within an hour, of pods that had any.",
            zero("sum by (namespace, pod) (namespace_pod_container:restarts:increase1h) > 0.5", _PODS, *_POD),
            pod,
            thresholds=(Threshold(1), Threshold(3, CRITICAL)),
        ),
        graph(
            "OOM kills",
            "Containers that were killed the last time because they took more memory than they may.",
            zero(
                'sum by (namespace, pod) (kube_pod_container_status_last_terminated_reason{reason="OOMKilled"} > 0)',
                _PODS,
                *_POD,
            ),
            pod,
            thresholds=_BAD,
        ),
        graph(
            "OOM kills of nodes",
            "Processes that the kernel killed within five minutes for want of memory.",
            "sum by (node) (increase(node_vmstat_oom_kill[5m]))",
            "{{node}}",
            thresholds=_BAD,
        ),
        graph(
            "Evictions",
            "Pods that were made to leave their node.",
            zero('sum by (namespace, pod) (kube_pod_status_reason{reason="Evicted"} > 0)', _PODS, *_POD),
            pod,
            thresholds=_ANY,
        ),
        graph(
            "Containers that wait",
            "Why containers do not start.",
            zero("sum by (reason) (kube_pod_container_status_waiting_reason > 0)", _PODS, "reason"),
            "{{reason}}",
            thresholds=_ANY,
        ),
        graph(
            "Failed probes",
            "Probes that failed within five minutes, of pods that had any.",
            zero(
                'sum by (namespace, pod, probe_type) (increase(prober_probe_total{result="failed"}[5m])) > 0.5',
                "prober_probe_total",
                *_POD,
                "probe_type",
            ),
            f"{pod} {{{{probe_type}}}}",
            thresholds=_ANY,
        ),
        graph(
            "Failed jobs",
            "Kubernetes Jobs with pods that failed.",
            zero("sum by (namespace, job_name) (kube_job_status_failed > 0)", _PODS, "namespace", "job_name"),
            "{{namespace}} {{job_name}}",
            thresholds=_ANY,
        ),
    )


def _broken_services(namespace: str) -> tuple[Panel, ...]:
    labels = f'namespace="{namespace}"'
    return (
        graph(
            "Requests that fail",
            "Answers 5xx per second, by service.",
            f"sum by (service) (namespace_service:http_errors:rate5m{{{labels}}})",
            "{{service}}",
            REQUESTS_PER_SECOND,
        ),
        graph(
            "Requests that are refused",
            "Answers 429 per second, by service.",
            f'sum by (service) (rate(http_requests_total{{{labels},status="429"}}[5m]))'
            f" or 0 * sum by (service) (namespace_service:http_requests:rate5m{{{labels}}})",
            "{{service}}",
            REQUESTS_PER_SECOND,
        ),
        graph(
            "Jobs that died",
            "Jobs of the queue that were given up.",
            f'max(queue_jobs{{{labels},state="dead"}})',
            "dead",
            thresholds=_ANY,
        ),
        graph(
            "Events put aside",
            "Events that a group could not handle.",
            f"max by (group) (events_dead{{{labels}}})",
            "{{group}}",
            thresholds=_ANY,
        ),
    )


def capacity(_: Scene) -> Dashboard:
    """What there is, what is promised, what is used."""
    return Dashboard(
        uid="capacity",
        title="Capacity",
        tells="What there is, what of it is promised, what is used, and when it will not be enough.",
        rows=(
            Row(
                "CPU",
                (
                    _promised("CPU", "node:cpu_requested:ratio"),
                    _used("CPU that is used", "Busy processors.", "node:cpu_used:ratio_rate5m"),
                    graph(
                        "CPU by namespace",
                        "Who uses it.",
                        "sum by (namespace) (namespace_pod_container:cpu_used:rate5m)",
                        "{{namespace}}",
                        CORES,
                        stacked=True,
                    ),
                ),
            ),
            Row(
                "Memory",
                (
                    _promised("Memory", "node:memory_requested:ratio"),
                    _used("Memory that is used", "What nobody else could have.", "node:memory_used:ratio"),
                    graph(
                        "Memory by namespace",
                        "Who uses it.",
                        "sum by (namespace) (namespace_pod_container:memory_used_bytes:max)",
                        "{{namespace}}",
                        BYTES,
                        stacked=True,
                    ),
                    graph(
                        "Containers at their limit",
                        "The fullest container of each namespace, of the memory that it may take.",
                        "max by (namespace) (namespace_pod_container:memory_limit_used:ratio)",
                        "{{namespace}}",
                        RATIO,
                        thresholds=FULL,
                        top=1,
                    ),
                ),
            ),
            Row("Disks and pods", _room()),
            Row("Monitoring itself", _monitoring()),
        ),
    )


def _promised(what: str, expr: str) -> Panel:
    tells = "Requests of pods, of what the node has to give: the scheduler places nothing beyond 100%."
    return _used(f"{what} that is promised", tells, expr)


def _used(title: str, tells: str, expr: str) -> Panel:
    """A share of each node."""
    return graph(title, tells, expr, "{{node}}", RATIO, thresholds=FULL, top=1)


def _room() -> tuple[Panel, ...]:
    scaler = f"max by (namespace, {_SCALER})"
    return (
        graph("Free space", "Of the fullest file system of each node.", f"min by (node) ({_FREE})", "{{node}}", BYTES),
        graph(
            "Free space in four days",
            "If it goes on as in the last hour; at 0 it is full.",
            f"clamp_min(min by (node) (predict_linear({_FREE}[1h], 4 * 86400)), 0)",
            "{{node}}",
            BYTES,
        ),
        _used(
            "Room for pods",
            "Pods of each node, of those that it may have.",
            'count by (node) (kube_pod_info{node!=""}) / max by (node) (kube_node_status_allocatable{resource="pods"})',
        ),
        graph(
            "Replicas",
            "How many pods each autoscaler asks for.",
            zero(f"{scaler} (kube_{_SCALER}_status_desired_replicas)", _PODS, "namespace", _SCALER),
            f"{{{{namespace}}}} {{{{{_SCALER}}}}}",
        ),
        graph(
            "Autoscalers at their end",
            "Pods of each autoscaler, of those that it may make.",
            zero(
                f"{scaler} (kube_{_SCALER}_status_current_replicas) / {scaler} (kube_{_SCALER}_spec_max_replicas)",
                _PODS,
                "namespace",
                _SCALER,
            ),
            f"{{{{namespace}}}} {{{{{_SCALER}}}}}",
            RATIO,
            thresholds=_ANY,
            top=1,
        ),
    )


def _monitoring() -> tuple[Panel, ...]:
    return (
        graph("Series", "What Prometheus holds in memory.", "max(prometheus_tsdb_head_series)", "series"),
        graph(
            "Samples",
            "What Prometheus takes in.",
            "sum(rate(prometheus_tsdb_head_samples_appended_total[5m]))",
            "samples",
            PER_SECOND,
        ),
        graph(
            "Samples by job",
            "Who brings them, with one read of each target.",
            "sum by (job) (scrape_samples_post_metric_relabeling)",
            "{{job}}",
            stacked=True,
        ),
        Panel(
            "Space of samples",
            "What Prometheus has on disk.",
            (
                Query("max(prometheus_tsdb_storage_blocks_bytes)", "blocks"),
                Query("max(prometheus_tsdb_wal_storage_size_bytes)", "log"),
            ),
            BYTES,
        ),
        graph(
            "Slowest read",
            "How long the slowest target of each job takes to answer.",
            "max by (job) (scrape_duration_seconds)",
            "{{job}}",
            SECONDS,
        ),
        graph(
            "Time for rules",
            "What the last evaluation of all groups of a file took.",
            "sum by (file) (label_replace(prometheus_rule_group_last_duration_seconds,"
            ' "file", "$1", "rule_group", ".*/([^/;]+);.+"))',
            "{{file}}",
            SECONDS,
        ),
    )
