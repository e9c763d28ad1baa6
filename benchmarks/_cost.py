# SPDX-License-Identifier: GPL-3.0-or-later
"""What watching costs: the running stack, and a Prometheus that sees the series of so many services.

For the latter no service runs: a server on loopback answers with what a pod of the platform says of itself, once for
each pod, and counts on. The rules, the settings and the program are the platform's, each service has its objectives.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from ansible_collections.opsforge.platform.plugins.module_utils import _slo, _slo_rules
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import PROMETHEUS_DEFAULTS, Prometheus
from ansible_collections.opsforge.platform.tests.integration.api.control_plane import free_ports
from ansible_collections.opsforge.platform.tests.integration.api.prometheus import prometheus
from benchmarks._faults import Stage
from benchmarks._report import Report

# A release's two slots, of two pods each.
SLOTS, PODS = ("blue", "green"), 2
WARM_UP_SECONDS, SECONDS = 60, 120
_MODEL = "catalog"
_NAMESPACE = "monitoring"
# The rival of the benchmark was there until a moment ago.
_STACK = 'namespace=~"monitoring|logging", pod!~".+-usual-.+"'
_COLLECTOR = 'namespace="kube-system", pod=~"collector-.+|node-exporter-.+"'
_SAMPLES = "sum(prometheus_tsdb_head_samples_appended_total)"
_RATE = "sum(rate(prometheus_tsdb_head_samples_appended_total[5m]))"
_PROMISE = {"availability_percent": 99.9, "latency_seconds": 0.25, "latency_percent": 99}
_TICKS = os.sysconf("SC_CLK_TCK")


def running(stage: Stage, report: Report) -> None:
    """The stack of the platform itself, over the last five minutes."""
    prometheus = _asked(stage)
    for name, selector, parts in (("stack", _STACK, "1"), ("per_node", _COLLECTOR, "count(kube_node_info)")):
        what = f'{{{selector}, container!=""}}'
        cpu = f"sum(rate(container_cpu_usage_seconds_total{what}[5m])) / {parts}"
        memory = f"sum(container_memory_working_set_bytes{what}) / {parts}"
        report.sample("platform", f"{name}_cpu", prometheus.ask(cpu) or 0, "cores")
        report.sample("platform", f"{name}_memory", (prometheus.ask(memory) or 0) / 2**20, "MiB")
    report.sample("platform", "samples_per_second", prometheus.ask(_RATE) or 0, "samples/s")
    report.sample("platform", "series", prometheus.ask("sum(prometheus_tsdb_head_series)") or 0, "series")


def of_services(stage: Stage, count: int, report: Report) -> None:
    """A Prometheus alone, with the series of so many services."""
    arm = f"{count}_services"
    with _exposed(_said_by_a_pod(stage)) as exposed:
        folder, [port] = stage.folder / arm, free_ports(1)
        folder.mkdir()
        config, rules = _configured(stage, count, exposed, port)
        for file, content in rules.items():
            (folder / file).write_text(content, encoding="utf-8")
        with prometheus(folder, port, config, "--enable-feature=exemplar-storage") as process:
            asked = _asked(stage, prometheus_url=f"http://127.0.0.1:{port}")
            time.sleep(WARM_UP_SECONDS)
            cpu, appended, began = _cpu_seconds(process), asked.ask(_SAMPLES) or 0, time.monotonic()
            time.sleep(SECONDS)
            # Prometheus learns its own numbers as it does all others: by its scrapes.
            seconds = time.monotonic() - began
            report.sample(arm, "prometheus_cpu", (_cpu_seconds(process) - cpu) / seconds, "cores")
            report.sample(arm, "prometheus_memory", _resident(process) / 2**20, "MiB")
            report.sample(arm, "samples_per_second", ((asked.ask(_SAMPLES) or 0) - appended) / seconds, "samples/s")
            report.sample(arm, "series", asked.ask("prometheus_tsdb_head_series") or 0, "series")
            late = asked.ask("sum(prometheus_rule_group_iterations_missed_total) or vector(0)")
            report.sample(arm, "missed_evaluations", late or 0, "evaluations")


def _asked(stage: Stage, **options: Any) -> Prometheus:
    return Prometheus.of({**PROMETHEUS_DEFAULTS, **options}, stage.cluster)


def _said_by_a_pod(stage: Stage) -> str:
    labels = {"app.kubernetes.io/name": _MODEL}
    pods = stage.cluster.list("v1", "Pod", stage.namespace, labels)
    name = next(pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running")
    said = stage.cluster.fetch(stage.namespace, name, 9000, "/metrics", limit=2**22, timeout=10, kind="Pod")
    if said.status != 200:
        raise RuntimeError(f"pod {name} does not tell its metrics: {said.status}")
    return said.body.decode()


@dataclass
class _Text:
    """A pod's metrics, whose counters go on."""

    lines: list[tuple[str, float, bool]]
    second: int = -1
    body: bytes = b""

    def now(self) -> bytes:
        second = int(time.monotonic())
        if second != self.second:
            shown = (
                f"{text} {value * (1 + second % 100_000) if grows else value:g}" for text, value, grows in self.lines
            )
            self.second, self.body = second, ("\n".join(shown) + "\n").encode()
        return self.body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, text: _Text, *args: Any) -> None:
        self.text = text
        super().__init__(*args)

    def do_GET(self) -> None:
        body = self.text.now()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _exposed(text: str) -> Iterator[str]:
    """The address of a server on loopback that says this of each pod."""
    lines = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            lines.append((series, float(value), bool(re.match(r"\w+_(total|count|sum|bucket)\b", series))))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, _Text(lines)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _configured(stage: Stage, count: int, exposed: str, port: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The platform's configuration with these services as its targets, and its rules with their objectives."""
    found = stage.cluster.get("v1", "ConfigMap", "prometheus", _NAMESPACE)
    if found is None:
        raise RuntimeError(f"namespace {_NAMESPACE} has no ConfigMap prometheus: run make site first")
    live = yaml.safe_load(found["data"]["prometheus.yml"])
    pods = [(f"service{number}", slot, pod) for number in range(count) for slot in SLOTS for pod in range(PODS)]
    targets = [
        {
            "targets": [exposed],
            "labels": {
                "__metrics_path__": f"/{service}/{slot}/{pod}",
                "namespace": stage.namespace,
                "service": service,
                "slot": slot,
                "version": "1.0.0",
                "pod": f"{service}-{slot}-{pod}",
                "instance": f"{service}-{slot}-{pod}",
                "job": service,
            },
        }
        for service, slot, pod in pods
    ]
    config = {
        "global": live["global"],
        "rule_files": ["rules-*.yml"],
        "scrape_configs": [
            {"job_name": "pods", "static_configs": targets},
            {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]},
        ],
    }
    rules = {name: text for name, text in found["data"].items() if name.startswith("rules-")}
    entries = {f"service{number}": {"slo": _PROMISE} for number in range(count)}
    groups = _slo_rules.groups(_slo.of_services(entries, stage.namespace))
    rules["rules-slo.yml"] = yaml.safe_dump({"groups": groups}, sort_keys=False)
    return config, rules


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found, "the kernel says how much memory a process has"
    return int(found[1]) * 1024
