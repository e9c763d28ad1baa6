# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hours of a small shop, as the samples that a real Prometheus would have of it: with a release, errors and a gap.

Made by rule, so that each run is the same: nothing of it was measured.
"""

from __future__ import annotations

import math
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .control_plane import free_ports
from .patience import eventually
from .prometheus import launch, promtool

NAMESPACE = "apps"
SECONDS = 2 * 3600
STEP = 30  # between two samples
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# Traffic of `catalog` came to the slot green after this many seconds.
MOVED = 4500
DEPTH = 4  # rules that read rules that read rules
# In this time nothing was scraped.
GAP = (1800, 2700)

# The value that a series has so many seconds after the beginning, None for none.
Value = Callable[[float], float | None]
Labels = Mapping[str, str]
T = TypeVar("T")
F = TypeVar("F")


class Past:
    """Series by their metric."""

    def __init__(self) -> None:
        self.series: dict[str, list[tuple[Labels, Value]]] = {}

    def add(self, metric: str, value: Value | float, **labels: str) -> None:
        """One series: a number, or what it is at a moment."""
        known = value if callable(value) else (lambda _, constant=value: constant)
        self.series.setdefault(metric, []).append((labels, known))

    def count(self, metric: str, rate: Callable[[float], float], **labels: str) -> None:
        """A counter that grows by so many per second."""
        total, counted = 0.0, {}
        for at in range(0, SECONDS + STEP, STEP):
            total += rate(at) * STEP
            counted[at] = total
        self.add(metric, lambda at: counted[int(at)], **labels)

    def text(self, begin: int) -> str:
        """All of it as OpenMetrics, beginning at this moment (seconds since the epoch)."""
        lines: list[str] = []
        for metric, many in self.series.items():
            lines.append(f"# TYPE {metric} unknown")
            for labels, value in many:
                shown = ",".join(f"{key}={_quoted(text)}" for key, text in labels.items())
                for at in range(0, SECONDS + STEP, STEP):
                    number = None if GAP[0] <= at < GAP[1] else value(at)
                    if number is not None:
                        lines.append(f"{metric}{{{shown}}} {number:g} {begin + at}")
        return "\n".join([*lines, "# EOF\n"])


def of(value: T, curve: Callable[[float, T], F]) -> Callable[[float], F]:
    """A curve with a value of its own, from among those of a loop."""
    return lambda at: curve(at, value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def shop(hostile: str = "") -> Past:
    """Traffic of `catalog` and `orders`, the cluster under them, and objectives; a label may say what it likes."""
    past = Past()
    for service in ("catalog", "orders"):
        for slot in ("blue", "green"):
            _slot(past, service, slot)
        _service(past, service)
    if hostile:
        who = {**_who("catalog", "blue"), "method": "GET", "route": hostile, "status": "200"}
        past.count("http_requests_total", lambda at: 1.0, **who)
        strange = {"alertname": "Strange", "severity": "critical", "team": "api"}
        past.add("ALERTS", 1, alertstate="firing", service=hostile, **strange)
    _cluster(past)
    return past


def _who(service: str, slot: str) -> dict[str, str]:
    pod = f"{service}-{slot}-5d4f7c9b8-abcde"
    return {"namespace": NAMESPACE, "service": service, "slot": slot, "pod": pod, "job": service}


def _share(service: str, slot: str, at: float) -> float:
    """The share of the traffic that a slot has."""
    moved = service == "catalog" and at >= MOVED
    return 1.0 if (slot == "green") == moved else 0.0


def _slot(past: Past, service: str, slot: str) -> None:
    who = _who(service, slot)

    def rate(at: float) -> float:
        return _share(service, slot, at) * (20 + 8 * math.sin(at / 700)) * (0.4 if service == "orders" else 1)

    def failing(at: float) -> float:
        return 0.12 if service == "catalog" and slot == "green" and at < MOVED + 900 else 0.0

    for route, part in (("/products", 0.7), ("/products/{id}", 0.3)):
        past.count(
            "http_requests_total",
            of(part, lambda at, part: rate(at) * part * (1 - failing(at))),
            **who,
            method="GET",
            route=route,
            status="200",
        )
        past.count(
            "http_requests_total",
            of(part, lambda at, part: rate(at) * part * failing(at)),
            **who,
            method="GET",
            route=route,
            status="500",
        )
    slow = 0.08 if slot == "green" else 0.04
    for bound in (*BUCKETS, math.inf):
        share = 1 - math.exp(-bound / slow)
        le = "+Inf" if math.isinf(bound) else f"{bound:g}" if bound != 1 else "1.0"
        past.count(
            "http_request_duration_seconds_bucket",
            of(share, lambda at, share: rate(at) * share),
            **who,
            method="GET",
            route="/products",
            le=le,
        )
    past.add("http_requests_in_flight", lambda at: round(rate(at) / 8), **who)
    past.add("build_info", 1, **who, version="1.1.0" if slot == "green" else "1.0.1")
    past.add("up", 1, **who, instance=who["pod"])
    container = {"namespace": NAMESPACE, "pod": who["pod"], "container": service}
    past.count("container_cpu_usage_seconds_total", lambda at: 0.02 + rate(at) / 100, **container, node="worker1")
    past.add(
        "container_memory_working_set_bytes",
        lambda at: 9e7 + 3e6 * math.sin(at / 900) + rate(at) * 4e5,
        **container,
        node="worker1",
    )
    past.add("kube_pod_container_resource_limits", 160 * 2**20, **container, resource="memory")
    past.add("kube_pod_container_resource_limits", 1, **container, resource="cpu")
    past.add("kube_pod_container_resource_requests", 0.1, **container, resource="cpu", node="worker1")
    past.add("kube_pod_container_resource_requests", 80 * 2**20, **container, resource="memory", node="worker1")
    past.add(
        "kube_pod_container_status_restarts_total", lambda at: float(slot == "green" and at > MOVED + 300), **container
    )
    past.add(
        "kube_deployment_status_replicas_ready",
        lambda at: 2 if _share(service, slot, at) else 1,
        namespace=NAMESPACE,
        deployment=f"{service}-{slot}",
    )
    past.add("kube_deployment_status_replicas_available", 2, namespace=NAMESPACE, deployment=f"{service}-{slot}")
    past.add("kube_deployment_spec_replicas", 2, namespace=NAMESPACE, deployment=f"{service}-{slot}")
    past.add(
        "kube_pod_labels",
        1,
        namespace=NAMESPACE,
        pod=who["pod"],
        uid=who["pod"],
        label_app_kubernetes_io_name=service,
        label_opsforge_dev_slot=slot,
    )
    past.add("kube_pod_info", 1, namespace=NAMESPACE, pod=who["pod"], uid=who["pod"], node="worker1")
    past.add(
        "dependency_up", lambda at: float(not (service == "orders" and 5000 < at < 5300)), **who, dependency="database"
    )
    past.add(
        "kube_service_annotations",
        lambda at: 1 if _share(service, slot, at) else None,
        namespace=NAMESPACE,
        service=service,
        annotation_opsforge_dev_traffic_slot=slot,
        annotation_opsforge_dev_traffic_version="1.1.0" if slot == "green" else "1.0.1",
    )


def _service(past: Past, service: str) -> None:
    # What the rules on objectives record; they are tested elsewhere.
    for slo, objective in (("availability", 0.999), ("latency", 0.99)):
        known = {"namespace": NAMESPACE, "service": service, "slo": slo, "team": "api", "category": "service_health"}
        past.add("slo:objective:ratio", objective, **known)
        past.add("slo:error_budget:ratio", 1 - objective, **known)
        for window in ("5m", "30m", "1h", "6h", "3d", "30d"):
            bad = service == "catalog" and slo == "availability"
            past.add(
                f"slo:sli_error:ratio_rate{window}",
                of(bad, lambda at, bad: 0.02 if bad and MOVED < at < MOVED + 1200 else 0.0002),
                **known,
            )
        past.add("slo:current_burn_rate:ratio", 0.2, **known)
        past.add("slo:sli_events:increase1h", lambda at: 60000 + 8000 * math.sin(at / 700), **known)
        past.add(
            "slo:period_error_budget_remaining:ratio",
            of(slo == "availability", lambda at, bad: 0.9 - (0.5 * at / SECONDS if bad else 0)),
            **known,
        )


def _cluster(past: Past) -> None:
    for node, busy in (("cp1", 0.3), ("worker1", 0.6)):
        past.count(
            "node_cpu_seconds_total",
            of(busy, lambda at, busy: 4 * (1 - busy - 0.15 * math.sin(at / 800))),
            node=node,
            mode="idle",
            cpu="0",
        )
        past.add("node_load1", of(busy, lambda at, busy: 2 * busy + math.sin(at / 600) ** 2), node=node)
        past.add("node_memory_MemTotal_bytes", 8 * 2**30, node=node)
        past.add(
            "node_memory_MemAvailable_bytes",
            of(busy, lambda at, busy: (8 - 6 * busy - math.sin(at / 900)) * 2**30),
            node=node,
        )
        past.add(
            "node_filesystem_avail_bytes", lambda at: (40 - at / 900) * 2**30, node=node, mountpoint="/", fstype="ext4"
        )
        past.add("node_filesystem_size_bytes", 100 * 2**30, node=node, mountpoint="/", fstype="ext4")
        past.add("kube_node_status_condition", 1, node=node, condition="Ready", status="true")
        past.add("kube_node_status_condition", 0, node=node, condition="MemoryPressure", status="true")
        past.add("kube_node_status_allocatable", 4, node=node, resource="cpu")
        past.add("kube_node_status_allocatable", 8 * 2**30, node=node, resource="memory")
        past.add("kube_node_status_allocatable", 110, node=node, resource="pods")
        past.add("kubelet_running_pods", 17, node=node)
        past.count(
            "node_network_receive_bytes_total", lambda at: 2e5 + 1e5 * math.sin(at / 500), node=node, device="eth0"
        )
        past.count(
            "node_network_transmit_bytes_total", lambda at: 3e5 + 1e5 * math.sin(at / 500), node=node, device="eth0"
        )
        past.count(
            "node_disk_io_time_seconds_total", lambda at: 0.2 + 0.1 * math.sin(at / 300), node=node, device="vda"
        )
        past.add("node_vmstat_oom_kill", 0, node=node)
    for verb, rate in (("GET", 12.0), ("LIST", 3.0), ("WATCH", 1.0), ("PATCH", 0.6)):
        past.count("apiserver_request_total", of(rate, lambda at, rate: rate), verb=verb, code="200")
        past.count("apiserver_request_duration_seconds_sum", of(rate, lambda at, rate: rate * 0.012), verb=verb)
        past.count("apiserver_request_duration_seconds_count", of(rate, lambda at, rate: rate), verb=verb)
    for phase, size in (("Running", 33), ("Pending", 0), ("Failed", 0), ("Unknown", 0), ("Succeeded", 2)):
        past.add("kube_pod_status_phase", size, phase=phase, namespace=NAMESPACE, pod="all")
    past.add("etcd_server_has_leader", 1, instance="cp1")
    alert = {"alertname": "ServiceErrorRateHigh", "severity": "critical", "team": "api", "service": "catalog"}
    past.add("ALERTS", lambda at: 1 if MOVED + 120 < at < MOVED + 900 else None, alertstate="firing", **alert)
    past.add("ALERTS", 1, alertstate="firing", alertname="Watchdog", severity="none", team="sre")
    past.add("ALERTS", 1, alertstate="firing", alertname="DiskFilling", severity="warning", team="sre", node="worker1")


class Memory:
    """The real Prometheus, on loopback, with nothing but a past: it scrapes nothing and evaluates nothing."""

    def __init__(self, folder: Path, past: Past, begin: int, rules: Sequence[Path]) -> None:
        self.folder, self.begin = folder, begin
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        samples = folder / "samples.txt"
        samples.write_text(past.text(begin))
        promtool("tsdb", "create-blocks-from", "openmetrics", "-q", samples, folder / "data")
        (folder / "prometheus.yml").write_text("{}")
        self._record(rules)
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = launch(self.folder, self.port, "--storage.tsdb.retention.time=100y", "--log.level=error")
        eventually(self._is_ready, hope="Prometheus answers")

    def _is_ready(self) -> bool:
        assert self._process and self._process.poll() is None, (self.folder / "log").read_text()
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
            return True

    def stop(self) -> None:
        """Kill it; what it has on disk stays."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def _record(self, rules: Sequence[Path]) -> None:
        """Evaluate the recording rules over that time, as if they had always been there.

        Again for those that read what others record: each time sees what was recorded before.
        """
        copies = []
        for number, path in enumerate(rules):
            copies.append(self.folder / f"recorded-{number}.yml")
            copies[-1].write_text(yaml.safe_dump(_recording(path)))
        times = ("--start", str(self.begin), "--end", str(self.begin + SECONDS), "--eval-interval", f"{STEP}s")
        for _ in range(DEPTH if copies else 0):
            self.start()
            promtool(
                "tsdb",
                "create-blocks-from",
                "rules",
                *times,
                "--output-dir",
                self.folder / "data",
                "--url",
                self.url,
                *copies,
            )
            self.stop()


def _recording(path: Path) -> dict[str, Any]:
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    kept = [{"name": group["name"], "rules": [rule for rule in group["rules"] if "record" in rule]} for group in groups]
    return {"groups": [group for group in kept if group["rules"]]}
