# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a line, through the real collector and the real Loki as the role configures them."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.tests.unit.roles import evaluate

from .control_plane import find_binary, free_ports
from .patience import eventually

UID = "8b1ab1a4-5b3e-4c39-9b35-6c2b1c5f000"
REQUEST = {"level": "info", "request_id": "r1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "event": "request"}


def render(name: str) -> str:
    """A variable of the role, from its own defaults."""
    return str(evaluate("logging", "{{ " + name + " }}"))


class Node:
    """A node's log files, its collector and a Loki, on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loki, grpc, health, otlp_grpc, otlp_http, self.metrics = free_ports(6)
        for part in ("pods", "state", "loki", "rules/fake"):
            (folder / part).mkdir(parents=True)
        (folder / "rules/fake/rules.yml").write_text(render("__logging_rules['rules.yml']"), encoding="utf-8")
        loki = render("__logging_loki_config").replace("/etc/loki/rules", f"{folder}/rules")
        loki = re.sub(r"(?<=[ :])/loki\b", f"{folder}/loki", loki)
        loki = loki.replace("port: 3100", f"port: {self.loki}").replace("port: 9095", f"port: {grpc}")
        (folder / "loki.yml").write_text(loki, encoding="utf-8")
        collector = render("__logging_collector_config").replace("/var/log/pods", f"{folder}/pods")
        for old, new in {
            "/var/lib/opsforge/collector": f"{folder}/state",
            "http://loki.logging:3100": f"http://127.0.0.1:{self.loki}",
            "0.0.0.0:13133": f"127.0.0.1:{health}",
            "0.0.0.0:4317": f"127.0.0.1:{otlp_grpc}",
            "0.0.0.0:4318": f"127.0.0.1:{otlp_http}",
            "port: 8888": f"port: {self.metrics}",
        }.items():
            assert old in collector, old
            collector = collector.replace(old, new)
        (folder / "collector.yml").write_text(collector, encoding="utf-8")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start `loki` or `collector`."""
        option = {"loki": "-config.file", "collector": "--config"}[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [find_binary(f"{name}-binary", name), f"{option}={self.folder / name}.yml"],
                env={"NODE_NAME": "node1", "PATH": ""},
                stdout=log,
                stderr=log,
            )
        if name == "loki":
            # A question that comes before its parts have met waits for ever.
            eventually(self.is_ready)

    def is_ready(self) -> bool:
        """Whether Loki's parts have met."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.loki}/ready", timeout=5) as answer:
            return bool(answer.status == 200)

    def stop(self, name: str, *, at_once: bool = False) -> None:
        """Stop it: as the kubelet does, or `at_once` as a power cut does."""
        process = self.processes.pop(name)
        process.kill() if at_once else process.terminate()
        process.wait(30)

    def write(self, where: str, *lines: str | dict[str, Any], stream: str = "stdout F") -> None:
        """Add lines to the log file of a container, given as `<namespace>_<pod>_<uid>/<container>`."""
        path = self.folder / "pods" / where / "0.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            for line in lines:
                text = line if isinstance(line, str) else json.dumps(line)
                now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                file.write(f"{now} {stream} {text}\n")

    def query(self, logql: str, kind: str = "query") -> list[dict[str, Any]]:
        """What Loki answers: numbers of this moment, or by `query_range` the streams of the last hour."""
        asked = urllib.parse.urlencode({"query": logql})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.loki}/loki/api/v1/{kind}?{asked}", timeout=5) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def counted(self, selector: str, by: str) -> dict[tuple[str, ...], int]:
        """How many lines there are, by the values of these labels."""
        found = self.query(f"sum by ({by}) (count_over_time({selector} [10m]))")
        return {tuple(one["metric"].get(label, "") for label in by.split(", ")): int(one["value"][1]) for one in found}

    def accepted(self) -> int:
        """How many lines the running collector has read."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.search(r"^otelcol_receiver_accepted_log_records\S* (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def discarded(self, reason: str) -> float:
        """How many lines Loki has refused for this reason since its start."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.loki}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.findall(rf'^loki_discarded_samples_total{{.*reason="{reason}".*}} (\S+)$', text, re.MULTILINE)
        return sum(map(float, found))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    made.start("loki")
    yield made
    for name in list(made.processes):
        made.stop(name, at_once=True)


def test_a_line_is_known_by_whose_it_is_and_how_bad(node: Node) -> None:
    auth = f"apps_auth-blue-7b9f8c6d5-abcde_{UID}1/auth"
    node.write(auth, REQUEST, "Traceback (most recent call last):")
    node.write(auth, '{"level":"err', stream="stdout P")
    node.write(auth, 'or","event":"in two parts"}')
    node.write(f"apps_auth-migrate-3fb2f536-x2z9q_{UID}2/migrate", {"level": "warn"})
    node.write(f"apps_worker-green-5d4f-zzzz9_{UID}3/worker", {"level": "critical", "request_id": "r1"})
    node.write(f"apps_other_{UID}4/main", {"level": {"a": 1}, "request_id": 7}, {"level": "made up"}, '{"level": ')
    node.write("kube-system_etcd-cp1_49cc7c1fd3702c40b2686ea7486091d6/etcd", {"level": "warn", "slot": "blue"})
    node.write(f"shop_auth-blue-7b9f8c6d5-abcde_{UID}6/auth-service", "of somebody who is not auth")
    node.write(f"kube-system_collector-x2z9q_{UID}5/collector", "about itself")
    node.start("collector")
    eventually(lambda: node.accepted() == 10 and sum(node.counted('{node="node1"}', "node").values()) == 10)
    assert node.counted('{node="node1"}', "job, namespace, service, slot, level") == {
        ("auth-service", "apps", "auth", "blue", "info"): 1,
        ("auth-service", "apps", "auth", "blue", ""): 1,
        ("auth-service", "apps", "auth", "blue", "error"): 1,
        ("auth-service", "apps", "auth", "", "warning"): 1,
        ("worker-service", "apps", "worker", "green", "critical"): 1,
        ("main-service", "apps", "main", "", ""): 3,
        ("kube-system/etcd", "kube-system", "etcd", "", "warning"): 1,
        ("shop/auth-service", "shop", "auth-service", "", ""): 1,
    }
    assert node.counted('{job=~".+-service"} | request_id="r1"', "service") == {("auth",): 1, ("worker",): 1}
    (line,) = node.query('{job="auth-service"} | trace_id="4bf92f3577b34da6a3ce929d0e0e4736"', "query_range")
    assert json.loads(line["values"][0][1]) == REQUEST, "kept as it was written"
    assert line["stream"]["pod"] == "auth-blue-7b9f8c6d5-abcde"


def test_a_restart_reads_nothing_twice_and_loses_nothing(node: Node) -> None:
    auth = f"apps_auth-blue-7b9f8c6d5-abcde_{UID}1/auth"
    node.write(auth, *[{"level": "info", "number": number} for number in range(50)])
    node.start("collector")
    eventually(lambda: node.counted('{job="auth-service"}', "job") == {("auth-service",): 50})
    node.stop("collector")
    node.write(auth, {"level": "info", "number": 50})
    node.start("collector")
    eventually(lambda: node.counted('{job="auth-service"}', "job") == {("auth-service",): 51})
    assert node.accepted() == 1


def test_what_was_read_while_loki_was_away_survives_a_power_cut(node: Node) -> None:
    node.stop("loki", at_once=True)
    auth = f"apps_auth-blue-7b9f8c6d5-abcde_{UID}1/auth"
    node.write(auth, {"level": "info"}, {"level": "info"})
    node.start("collector")
    eventually(lambda: node.accepted() == 2)
    node.stop("collector", at_once=True)
    (node.folder / "pods" / auth / "0.log").unlink()
    node.start("loki")
    node.start("collector")
    eventually(lambda: node.counted('{job="auth-service"}', "job") == {("auth-service",): 2})


def test_what_waits_is_bounded_by_its_size_and_none_of_it_is_lost(node: Node) -> None:
    config = node.folder / "collector.yml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("queue_size: 200000000", "queue_size: 2000000"), encoding="utf-8")
    node.stop("loki")
    auth = f"apps_auth-blue-7b9f8c6d5-abcde_{UID}1/auth"
    node.write(auth, *[{"level": "info", "number": number, "text": "x" * 1000} for number in range(6000)])
    node.start("collector")
    eventually(lambda: node.accepted() >= 1000)
    time.sleep(5)  # nothing tells that it does not read on: without a bound it has read all in a second
    assert node.accepted() < 3000, "what does not fit waits in its file"
    node.start("loki")
    eventually(lambda: node.counted('{job="auth-service"}', "job") == {("auth-service",): 6000}, 60)


def test_a_program_that_floods_is_held_back_and_loses_nothing(node: Node) -> None:
    flood = f"apps_auth-blue-7b9f8c6d5-abcde_{UID}1/auth"
    node.write(flood, *[{"level": "info", "number": number, "text": "x" * 8000} for number in range(1000)])
    node.start("collector")
    eventually(lambda: node.discarded("per_stream_rate_limit") > 0)
    node.write(f"apps_orders-blue-7b9f8c6d5-abcde_{UID}2/orders", {"level": "info"})
    eventually(lambda: node.counted('{job=~".+-service"}', "service") == {("auth",): 1000, ("orders",): 1}, 60)


def test_nobody_may_ask_loki_to_forget(node: Node) -> None:
    url = f"http://127.0.0.1:{node.loki}/loki/api/v1/delete?query=%7Bjob%3D~%22.%2B%22%7D&start=1"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5)
    assert refused.value.code == 403


def test_an_alert_fires_on_what_it_is_about_and_on_nothing_else(node: Node) -> None:
    groups = yaml.safe_load(render("__logging_rules['rules.yml']"))["groups"]
    alerts = {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}
    errors, missing = alerts["LogErrorsHigh"], alerts["LogsMissing"]
    eventually(lambda: node.query(missing), 60)
    assert [name for name, expr in alerts.items() if node.query(expr)] == ["LogsMissing"], "there is no data at all"

    requests = {"level": "error", "event": "request", "status": 500}
    node.write(f"apps_auth-blue-7b9f8c6d5-abcde_{UID}1/auth", *[requests] * 30)
    node.write(f"apps_orders-blue-7b9f8c6d5-abcde_{UID}2/orders", *[{"level": "error"}] * 19)
    node.write(f"kube-system_etcd-cp1_{UID}3/etcd", *[{"level": "error"}] * 30)
    node.write(f"shop_auth-blue-7b9f8c6d5-abcde_{UID}5/auth-service", *[{"level": "error"}] * 30)
    node.write(f"apps_worker-green-5d4f-zzzz9_{UID}4/worker", *[{"level": "critical", "event": "job"}] * 20)
    node.start("collector")
    eventually(lambda: sum(node.counted('{node="node1"}', "node").values()) == 129)
    fired = [one["metric"] for one in node.query(errors)]
    assert fired == [{"namespace": "apps", "service": "worker", "slot": "green"}]
    assert node.query(missing) == []


def test_loki_takes_the_shipped_rules(node: Node) -> None:
    def loaded() -> dict[str, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.loki}/prometheus/api/v1/rules", timeout=5) as answer:
            groups = json.load(answer)["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    eventually(lambda: loaded() == {"LogErrorsHigh": "ok", "LogsMissing": "ok"}, 90)
