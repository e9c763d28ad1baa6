# SPDX-License-Identifier: GPL-3.0-or-later
"""metric_gate against a real Prometheus that scrapes what the test says, and a real API server for the record."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _decisions
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._conditions import Condition, Subject
from ansible_collections.opsforge.platform.plugins.module_utils._decisions import Decision
from ansible_collections.opsforge.platform.plugins.module_utils._gate import Gate, Options
from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import Prometheus

from .control_plane import free_ports
from .patience import eventually
from .prometheus import Asked, launch

Object = dict[str, Any]
RunModule = Callable[..., Object]
SCRAPE = 0.2  # seconds
PATIENCE = 30  # seconds
SLOT = 'namespace="apps",service="auth",slot="{slot}"'
ERRORS = f'sum(rate(http_requests_total{{{SLOT},status="500"}}[3s])) / sum(rate(http_requests_total{{{SLOT}}}[3s]))'

SLOW = f"histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{{{SLOT}}}[3s])))"
RESTARTS = "max(increase(kube_pod_container_status_restarts_total[3s]))"


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass

    def say(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@dataclass
class App:
    """The pods of one slot: each scrape finds as many more requests as `good` and `bad` say, each as slow as `le`."""

    slot: str
    good: int = 20
    bad: int = 0
    le: str = "0.05"
    restarts: int = 0
    up: bool = True
    # Whether anybody ever asked it for anything: a label that was never used has no series.
    used: bool = True
    counted: dict[str, int] = field(default_factory=lambda: {"200": 0, "500": 0})
    fast: int = 0

    def scrape(self) -> str:
        self.counted["200"] += self.good
        self.counted["500"] += self.bad
        self.fast += (self.good + self.bad) * (self.le == "0.05")
        total = sum(self.counted.values())
        lines = []
        if self.used:
            lines += [f'http_requests_total{{status="{status}"}} {count}' for status, count in self.counted.items()]
            for le, count in {"0.05": self.fast, "2": total, "+Inf": total}.items():
                lines.append(f'http_request_duration_seconds_bucket{{le="{le}"}} {count}')
        pod = f'namespace="apps",pod="auth-{self.slot}-5d4f7c9b8-abcde",container="auth"'
        lines.append(f"kube_pod_container_status_restarts_total{{{pod}}} {self.restarts}")
        lines.append(f"yesterdays_jobs 1 {int((time.time() - 90) * 1000)}")
        return "\n".join(lines) + "\n"


class RealPrometheus:
    """The real program, scraping both slots five times a second."""

    def __init__(self, folder: Path) -> None:
        self.apps = {slot: App(slot) for slot in ("blue", "green")}
        self._servers = {slot: self._serve(app) for slot, app in self.apps.items()}
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.asked = Asked(self.port)
        self.process = self._start()

    def _serve(self, app: App) -> http.server.ThreadingHTTPServer:
        class Pods(Quiet):
            def do_GET(self) -> None:
                self.say(app.scrape().encode() if app.up else b"", 200 if app.up else 500)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pods)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    def _start(self) -> subprocess.Popen[bytes]:
        jobs = [
            {
                "job_name": f"auth-{slot}",
                "honor_labels": True,  # as kube-state-metrics is scraped
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{server.server_port}"],
                        "labels": {"namespace": "apps", "service": "auth", "slot": slot},
                    }
                ],
            }
            for slot, server in self._servers.items()
        ]
        pause = f"{SCRAPE * 1000:.0f}ms"
        config = {"global": {"scrape_interval": pause, "scrape_timeout": pause}, "scrape_configs": jobs}
        (self._folder / "prometheus.yml").write_text(json.dumps(config))
        return launch(self._folder, self.port, "--log.level=error", host="0.0.0.0")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def wait(self, query: str, enough: Callable[[float], bool]) -> None:
        """Ask until the number is as it should be."""

        def is_enough() -> bool:
            assert self.process.poll() is None, (self._folder / "log").read_text()
            found = self.asked.number(query)
            return found is not None and enough(found)

        eventually(is_enough, hope=query)

    def settle(self) -> None:
        """Wait until the last three seconds are like this moment, with traffic on both slots."""
        for slot, app in self.apps.items():
            share = app.bad / (app.good + app.bad)
            self.wait(ERRORS.replace("{slot}", slot), lambda found, share=share: abs(found - share) < 1e-9)  # type: ignore[misc]
            slow = SLOW.replace("{slot}", slot)
            self.wait(slow, lambda found, app=app: (found > 1) == (app.le == "2"))  # type: ignore[misc]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    """Start Prometheus once for all tests of this file."""
    found = RealPrometheus(tmp_path_factory.mktemp("prometheus"))
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def prometheus(real: RealPrometheus) -> RealPrometheus:
    """Let both slots be well, and have been so for the time that is looked back on."""
    for app in real.apps.values():
        app.good, app.bad, app.le, app.up, app.used = 20, 0, "0.05", True, True
    real.settle()
    real.wait(RESTARTS, lambda found: found == 0)
    return real


@dataclass
class Door:
    """The module, with what all tests here give it. Metrics say namespace `apps`, whatever the test's own is."""

    run_module: RunModule
    cluster: Cluster
    namespace: str
    url: str

    def __call__(self, *, check: bool = False, **options: Any) -> Object:
        given = {
            "prometheus_url": self.url, "service": "auth", "namespace": self.namespace, "slot": "green",
            "window": "3s", "interval": 0.1, "timeout": 1, "by": "somebody", **options,
        }  # fmt: skip
        return self.run_module("metric_gate", check=check, **given)

    def kept(self) -> tuple[Decision, ...]:
        return _decisions.read(self.cluster.get("v1", "ConfigMap", "auth-decisions", self.namespace))


@pytest.fixture
def gate(run_module: RunModule, cluster: Cluster, namespace: str, prometheus: RealPrometheus) -> Door:
    return Door(run_module, cluster, namespace, prometheus.url)


@pytest.fixture
def apps(cluster: Cluster) -> str:
    """The namespace that the metrics and the preset are about, with an empty record."""
    if not cluster.get("v1", "Namespace", "apps"):
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}})
    cluster.delete("v1", "ConfigMap", "auth-decisions", "apps")
    return "apps"


def errors(**given: Any) -> list[Object]:
    """One condition, on the share of errors."""
    return [{"name": "errors", "query": ERRORS, "max": 0.1, "series": f"http_requests_total{{{SLOT}}}", **given}]


# -- what is found -------------------------------------------------------------------------------------------------


def test_a_slot_that_is_well_passes_by_what_all_are_judged_by(gate: Door, apps: str) -> None:
    answer = gate(namespace=apps, baseline="blue", when="during", timeout=10)
    assert not answer.get("failed"), answer
    assert (answer["verdict"], answer["changed"], answer["recorded"]) == ("pass", True, True)
    found = {one["condition"]: one for one in answer["decisions"]}
    assert {name: (one["outcome"], one["baseline_slot"]) for name, one in found.items()} == {
        "error_ratio": ("pass", "blue"),
        "latency_p99_seconds": ("pass", "blue"),
        "restarts": ("pass", None),
    }
    assert found["error_ratio"]["value"] == found["restarts"]["value"] == 0
    assert 0 < found["latency_p99_seconds"]["value"] < 0.05
    assert found["error_ratio"]["samples"] >= 20
    assert all(0 <= one["age_seconds"] < 5 for one in found.values())


@pytest.mark.parametrize(
    "change, condition",
    [("bad", "error_ratio"), ("le", "latency_p99_seconds"), ("restarts", "restarts")],
)
def test_a_slot_that_is_not_well_is_refused(
    gate: Door, apps: str, prometheus: RealPrometheus, change: str, condition: str
) -> None:
    app = prometheus.apps["green"]
    if change == "restarts":
        app.restarts += 1
        prometheus.wait(RESTARTS, lambda found: found > 0)
    else:
        setattr(app, change, {"bad": 20, "le": "2"}[change])
        prometheus.settle()
    answer = gate(namespace=apps)
    assert answer["failed"]
    assert [one["condition"] for one in answer["decisions"] if one["verdict"] == "fail"] == [condition]
    assert f"slot green of auth does not pass the gate after the switch: {condition} is " in answer["msg"]
    assert "more than max" in answer["msg"]
    assert "ansible-playbook playbooks/rollback.yml -e service=auth" in answer["msg"]
    # Before the switch only the restarts tell something. The three seconds that they are seen for may be over.
    if condition != "restarts":
        assert not gate(namespace=apps, when="before", timeout=10).get("failed")
    assert not gate(namespace=apps, slot="blue", timeout=10).get("failed"), "the other slot is well"


def test_worse_than_the_baseline_is_refused_and_equally_bad_is_not(gate: Door, prometheus: RealPrometheus) -> None:
    prometheus.apps["green"].bad = 10
    prometheus.settle()
    relative = [
        {"name": "ratio", "query": ERRORS, "ratio_max": 1.5, "series": f"http_requests_total{{{SLOT}}}"},
        {"name": "difference", "query": ERRORS, "difference_max": 0.1, "series": f"http_requests_total{{{SLOT}}}"},
    ]
    answer = gate(conditions=relative, baseline="blue")
    assert [one["verdict"] for one in answer["decisions"]] == ["fail", "fail"]
    assert "ratio is 0.3333, more than ratio_max 1.5 times its baseline 0" in answer["msg"]
    assert "difference is 0.3333, more than difference_max 0.1 above its baseline 0" in answer["msg"]
    prometheus.apps["blue"].bad = 10
    prometheus.settle()
    assert not gate(conditions=relative, baseline="blue").get("failed")


def test_the_baseline_is_what_the_old_slot_was_when_it_had_the_traffic(gate: Door, prometheus: RealPrometheus) -> None:
    switched = time.time()
    prometheus.apps["blue"].good = 0
    last = f"sum(rate(http_requests_total{{{SLOT}}}[3s]))".replace("{slot}", "blue")
    prometheus.wait(last, lambda found: found == 0)
    compared = errors(max=None, difference_max=0.1)
    answer = gate(conditions=compared, baseline="blue", no_data="fail")
    assert answer["decisions"][0]["outcome"] == "no_data"
    assert "the baseline of errors has no value" in answer["msg"]
    answer = gate(conditions=compared, baseline="blue", no_data="fail", baseline_time=switched)
    assert (answer["verdict"], answer["decisions"][0]["baseline_value"]) == ("pass", 0)


def test_nothing_is_known_of_a_service_that_nobody_scrapes(gate: Door) -> None:
    for policy, verdict in {"fail": "fail", "pass": "pass", "wait": "fail"}.items():
        answer = gate(service="payments", no_data=policy, fail=False)
        assert answer["verdict"] == verdict
        assert {one["outcome"] for one in answer["decisions"]} == {"no_data"}


def test_not_a_number_is_no_data_and_infinity_is_a_value(gate: Door) -> None:
    series = {"max": 1, "series": f"http_requests_total{{{SLOT}}}"}
    wished = [{"name": "nan", "query": "0 / vector(0)", **series}, {"name": "inf", "query": "1 / vector(0)", **series}]
    answer = gate(conditions=wished, no_data="pass")
    assert [(one["value"], one["outcome"], one["verdict"]) for one in answer["decisions"]] == [
        ("NaN", "no_data", "pass"),
        ("+Inf", "fail", "fail"),
    ]
    assert [one.value for one in gate.kept()] == ["NaN", "+Inf"]


def test_a_slot_whose_pods_fell_silent_is_stale_though_its_numbers_are_good(
    gate: Door, apps: str, prometheus: RealPrometheus
) -> None:
    prometheus.apps["green"].up = False
    prometheus.wait('max(up{slot="green"})', lambda found: found == 0)
    for wished in (None, errors(query=ERRORS.replace("[3s]", "[5m]"))):
        answer = gate(namespace=apps, conditions=wished, window="5m", stale="fail")
        first = answer["decisions"][0]
        assert (first["outcome"], first["verdict"]) == ("stale", "fail")
        assert first["value"] is not None
        assert "no sample that is recent" in answer["msg"]
    assert gate(namespace=apps, conditions=wished, stale="pass")["verdict"] == "pass"


def test_a_number_of_yesterday_is_stale(gate: Door) -> None:
    series = f"yesterdays_jobs{{{SLOT}}}".replace("{slot}", "green")
    wished = [{"name": "jobs", "query": series, "series": series, "max": 5}]
    answer = gate(conditions=wished, stale="fail")
    assert 89 < answer["decisions"][0]["age_seconds"] < 120
    assert "s old, more than stale_seconds 60" in answer["msg"]
    assert gate(conditions=wished, stale="fail", stale_seconds=200)["verdict"] == "pass"
    wished[0]["stale_seconds"] = 0
    assert gate(conditions=wished, stale="fail")["verdict"] == "pass"


@pytest.mark.parametrize("used", [True, False], ids=["now", "ever"])
def test_a_slot_that_nobody_asks_has_too_few_samples(
    gate: Door, prometheus: RealPrometheus, apps: str, used: bool
) -> None:
    app = prometheus.apps["green"]
    app.good, app.used = 0, used
    last = f"sum(rate(http_requests_total{{{SLOT}}}[3s]))".replace("{slot}", "green")
    prometheus.wait(last if used else f"absent({last}) - 1", lambda found: found == 0)
    answer = gate(namespace=apps, too_few="fail")
    found = {one["condition"]: (one["outcome"], one["samples"]) for one in answer["decisions"]}
    assert found["error_ratio"] == found["latency_p99_seconds"] == ("too_few", 0)
    assert "error_ratio rests on 0 samples, fewer than samples_min 20" in answer["msg"]


@pytest.mark.parametrize(
    "query, words",
    [
        ("http_requests_total", "answers with 4 series, and one is needed: aggregate"),
        ("sum(http_requests_total", "Prometheus refuses the query sum(http_requests_total: "),
        ("up[1m]", "answers with a matrix"),
        ("up + on() up", "Prometheus refuses the query"),
        ('"text"', "answers with a string"),
    ],
)
def test_a_wrong_query_is_one_sentence(gate: Door, query: str, words: str) -> None:
    answer = gate(conditions=errors(query=query), no_data="pass", unreachable="pass", fail=False)
    assert answer["failed"]
    assert words in answer["msg"]
    assert "\n" not in answer["msg"]
    assert gate.kept() == ()


# -- time ----------------------------------------------------------------------------------------------------------


def test_a_release_that_goes_bad_in_the_second_minute_is_refused_then(prometheus: RealPrometheus) -> None:
    """Time is the test's, the metrics are real."""
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 6:
            prometheus.apps["green"].bad = 20
            prometheus.settle()

    clock = Clock(monotonic=lambda: sum(looks), now=time.time, sleep=sleep)
    asked = Prometheus.of(address(prometheus.url), None)  # type: ignore[arg-type]
    condition = Condition("errors", ERRORS, max=0.1)
    subject = Subject("auth", "apps", "green")
    for allowed, count in ((0, 7), (2, 9)):
        looks.clear()
        prometheus.apps["green"].bad = 0
        prometheus.settle()
        options = Options(duration=300, interval=10, failures_allowed=allowed)
        (decision,) = Gate(asked, subject, options, clock).run([condition])
        assert (decision.verdict, decision.looks, decision.looks_failed) == ("fail", count, allowed + 1)


def test_what_is_missing_at_first_is_waited_for(gate: Door, prometheus: RealPrometheus) -> None:
    prometheus.apps["green"].up = False
    prometheus.wait('max(up{slot="green"})', lambda found: found == 0)
    timer = threading.Timer(0.5, lambda: setattr(prometheus.apps["green"], "up", True))
    timer.start()
    answer = gate(conditions=errors(), timeout=PATIENCE)
    timer.join()
    assert (answer["verdict"], answer["decisions"][0]["looks"] > 1) == ("pass", True)


# -- Prometheus, and what answers in its place ---------------------------------------------------------------------


def address(url: str) -> Object:
    return {
        "prometheus_url": url, "prometheus_token": None, "prometheus_ca": None, "prometheus_timeout": 5.0,
    }  # fmt: skip


def test_prometheus_gone(gate: Door) -> None:
    gate.url = f"http://127.0.0.1:{free_ports(1)[0]}"
    answer = gate(conditions=errors(), timeout=0.3)
    assert answer["failed"]
    assert f"errors is not known: Prometheus {gate.url} cannot be reached: connection refused, after" in answer["msg"]
    assert [(one.outcome, one.verdict) for one in gate.kept()] == [("unreachable", "fail")]
    assert gate(conditions=errors(), unreachable="pass")["verdict"] == "pass"


def test_it_is_given_a_part_of_a_second(gate: Door) -> None:
    assert gate(conditions=errors(), prometheus_timeout=7.5)["verdict"]


def test_prometheus_hangs(gate: Door, prometheus: RealPrometheus) -> None:
    prometheus.process.send_signal(signal.SIGSTOP)
    os.waitpid(prometheus.process.pid, os.WUNTRACED)  # until it has stopped
    try:
        answer = gate(conditions=errors(), prometheus_timeout=0.3, unreachable="fail")
    finally:
        prometheus.process.send_signal(signal.SIGCONT)
    assert "no answer in time" in answer["msg"]


class Hostile(Quiet):
    """STAND-IN for whatever may stand where Prometheus should: each path is another way to be in the way."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        way = self.path.split("/")[1]
        self.seen.append((way, self.headers.get("Authorization")))
        with contextlib.suppress(OSError):
            getattr(self, way)()
        self.close_connection = True

    def html(self) -> None:
        self.say(b"<html><title>Log in</title></html>")

    def empty(self) -> None:
        self.say(b"")

    def refuses(self) -> None:
        self.say(b"<html>" + b"no " * 9999, 403)

    def elsewhere(self) -> None:
        self.send_response(302)
        self.send_header("Location", f"http://{self.headers['Host']}/caught/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def caught(self) -> None:
        self.say(b"{}")

    def huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(100 << 20))
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" " * (1 << 20))

    def endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    def deep(self) -> None:
        self.say(b"[" * 500_000)

    def drips(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        stop = time.monotonic() + PATIENCE
        while time.monotonic() < stop:
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)

    def drips_headers(self) -> None:
        stop = time.monotonic() + PATIENCE
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while time.monotonic() < stop:
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def hangs_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def busy(self) -> None:
        self.send_response(429)
        self.send_header("Retry-After", "nan")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    """STAND-IN, not the real program."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "way, words",
    [
        ("html", "does not answer as Prometheus does"),
        ("empty", "does not answer as Prometheus does"),
        ("refuses", "answers with HTTP 403"),
        ("elsewhere", "answers with HTTP 302"),
        ("huge", "answers with more than 1048576 bytes"),
        ("endless", "answers with more than 1048576 bytes"),
        ("deep", "does not answer as Prometheus does"),
        ("drips", "no answer in time"),
        ("drips_headers", "no answer in time"),
        ("hangs_up", "cannot be reached"),
        ("busy", "answers with HTTP 429"),
    ],
)
def test_what_is_not_prometheus_is_unreachable(
    run_module: RunModule, cluster: Cluster, namespace: str, hostile: str, way: str, words: str
) -> None:
    Hostile.seen.clear()
    door = Door(run_module, cluster, namespace, f"{hostile}/{way}")
    started = time.monotonic()
    answer = door(conditions=errors(), prometheus_timeout=0.5, prometheus_token="sesame", unreachable="fail")
    assert time.monotonic() - started < 5
    assert answer["decisions"][0]["outcome"] == "unreachable"
    assert words in answer["msg"]
    assert len(answer["msg"]) < 500
    assert "sesame" not in json.dumps(answer)
    assert {seen for seen, _ in Hostile.seen} == {way}, "nobody is sent elsewhere, least of all with a token"
    assert {token for _, token in Hostile.seen} == {"Bearer sesame"}


def own_address() -> str:
    """An address of this machine that is not loopback: the API server forwards to no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


def test_prometheus_is_reached_through_the_api_server(gate: Door, prometheus: RealPrometheus, cluster: Cluster) -> None:
    given: Object = {
        "prometheus_url": None,
        "prometheus_namespace": gate.namespace,
        "conditions": errors(),
        "unreachable": "fail",
    }
    answer = gate(**given)
    assert 'answers with HTTP 404: services "prometheus" not found' in answer["msg"]

    def create(api_version: str, kind: str, labels: Object | None = None, **rest: Any) -> None:
        metadata = {"name": "prometheus", "namespace": gate.namespace, "labels": labels or {}}
        cluster.create({"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest})

    # The test plays the kubelet and the controllers of endpoints; the API server forwards to addresses of pods only.
    address = own_address()
    create("v1", "Service", spec={"ports": [{"name": "http", "port": 9090}]})
    create("v1", "Pod", spec={"containers": [{"name": "prometheus", "image": "prometheus"}]})
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    cluster.patch("v1", "Pod", "prometheus", gate.namespace, {"status": status}, subresource="status")
    ports = [{"name": "http", "port": prometheus.port, "protocol": "TCP"}]
    target = {"kind": "Pod", "name": "prometheus", "namespace": gate.namespace}
    subset = {"addresses": [{"ip": address, "targetRef": target}], "ports": ports}
    create("v1", "Endpoints", subsets=[subset])
    endpoint = {"addresses": [address], "conditions": {"ready": True}, "targetRef": target}
    create(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        {"kubernetes.io/service-name": "prometheus"},
        addressType="IPv4",
        endpoints=[endpoint],
        ports=ports,
    )
    answer = gate(**given)
    assert (answer["verdict"], answer["decisions"][0]["value"]) == ("pass", 0), answer["sentence"]


# -- the budget ----------------------------------------------------------------------------------------------------


def test_a_spent_budget_refuses_until_somebody_answers_for_it(
    gate: Door, apps: str, prometheus: RealPrometheus, cluster: Cluster
) -> None:
    metadata = {"name": "auth", "namespace": apps, "annotations": {"slo.opsforge.dev/availability-percent": "90"}}
    if not cluster.get("v1", "Service", "auth", apps):
        spec = {"ports": [{"port": 80}]}
        cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    given: Object = {"namespace": apps, "when": "before", "conditions": [], "budget": {"window": "3s"}}
    answer = gate(**given)
    assert (answer["verdict"], answer["decisions"][0]["value"]) == ("pass", 0)
    prometheus.apps["green"].bad = 20
    prometheus.settle()
    answer = gate(**given)
    assert answer["failed"]
    (decision,) = answer["decisions"]
    # A third of the requests to both slots fail, and a tenth may; on a busy machine a sample of the window comes late.
    assert decision["value"] == pytest.approx(333, abs=80)
    assert "error_budget_spent_percent is" in answer["msg"]
    assert "say override_by and override_reason" in answer["msg"]
    answer = gate(**given, override_by="ann")
    assert answer["failed"]
    answer = gate(**given, override_by="ann", override_reason="it repairs the outage")
    assert answer["verdict"] == "pass"
    last = gate.cluster.get("v1", "ConfigMap", "auth-decisions", apps)
    kept = _decisions.read(last)
    assert [(one.outcome, one.verdict, one.override_by) for one in kept] == [
        ("pass", "pass", ""),
        ("fail", "fail", ""),
        ("fail", "pass", "ann"),
    ]
    assert kept[-1].override_reason == "it repairs the outage"


# -- the record ----------------------------------------------------------------------------------------------------


def test_each_decision_is_kept_and_check_mode_keeps_none(gate: Door) -> None:
    assert gate(check=True, conditions=errors())["recorded"] is False
    assert gate.kept() == ()
    gate(conditions=errors(), run_id="42", version="1.1.0")
    gate(conditions=errors(max=-1), when="before")
    first, second = gate.kept()
    assert (first.number, first.run_id, first.version, first.by) == (1, "42", "1.1.0", "somebody")
    assert (second.number, second.when, second.verdict, second.bounds) == (2, "before", "fail", {"max": -1})
    assert first.query == ERRORS.replace("{slot}", "green")
    answer = gate(check=True, conditions=errors(max=-1))
    assert answer["failed"], "check mode judges, too"
    assert len(gate.kept()) == 2
    found = gate.cluster.get("v1", "ConfigMap", "auth-decisions", gate.namespace)
    assert found is not None
    assert found["metadata"]["labels"]["opsforge.dev/component"] == "decisions"


def test_check_mode_without_a_cluster_is_told_and_fails_nothing(gate: Door, tmp_path: Path) -> None:
    given: Object = {"kubeconfig": str(tmp_path / "nowhere"), "conditions": errors(), "prometheus_url": None}
    answer = gate(check=True, **given)
    assert (answer["verdict"], answer["decisions"][0]["outcome"]) == ("pass", "unreachable")
    assert gate(**given)["failed"]


def test_a_pass_that_cannot_be_kept_is_an_error_and_a_refusal_stays_one(gate: Door) -> None:
    answer = gate(conditions=errors(), namespace="nowhere")
    assert (answer["failed"], answer["verdict"], answer["recorded"]) == (True, "pass", False)
    assert "could not be recorded" in answer["msg"]
    answer = gate(conditions=errors(max=-1), namespace="nowhere")
    assert (answer["failed"], answer["verdict"]) == (True, "fail")
    assert "errors is 0, more than max -1" in answer["msg"]


def test_writers_at_the_same_time_lose_no_line(gate: Door, control_plane: Any) -> None:
    writers, each = 6, 5
    troubles: list[Exception] = []
    start = threading.Barrier(writers)

    def write(writer: int) -> None:
        mine = connect({"kubeconfig": str(control_plane.kubeconfig)})
        start.wait()
        try:
            for number in range(each):
                decision = Decision(0, "", "after", "green", f"{writer}-{number}", "q", "pass", "pass")
                _decisions.append(mine, gate.namespace, "auth", [decision, decision], manager="test", sleep=time.sleep)
        except Exception as error:
            troubles.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    kept = gate.kept()
    assert [one.number for one in kept] == list(range(1, writers * each * 2 + 1))
    for writer in range(writers):
        mine = [one.condition for one in kept if one.condition.startswith(f"{writer}-")]
        assert mine == [f"{writer}-{number}" for number in range(each) for _ in range(2)], "in the order of its writer"
