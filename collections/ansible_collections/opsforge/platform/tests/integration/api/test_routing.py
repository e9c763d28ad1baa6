# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told of which alert, as amtool reads the routes, and what a real Alertmanager silences."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._receivers import CATEGORIES
from ansible_collections.opsforge.platform.tests.unit.monitoring.rendering import render

from .control_plane import find_binary, free_ports, run_tool
from .patience import eventually


def configuration(folder: Path, **settings: Any) -> Path:
    """Alertmanager's configuration as the role writes it, in a file of this folder."""
    data = render(**settings)["Secret", "alertmanager"]["data"]
    path = folder / "alertmanager.yml"
    path.write_bytes(base64.b64decode(data["alertmanager.yml"]))
    return path


def amtool(*words: str | Path) -> str:
    """Run amtool; fails with its words if it does."""
    return run_tool("alertmanager", "amtool", *words)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a site that says nothing."""
    return configuration(tmp_path_factory.mktemp("routes"))


@pytest.fixture(scope="module")
def listened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a site where somebody listens to each category."""
    hooks = {category: {"url": f"https://{category}.example.org"} for category in CATEGORIES}
    return configuration(tmp_path_factory.mktemp("listened"), monitoring_webhooks=hooks)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize(
    "severity, team, told",
    [
        ("critical", "sre", "sre"),
        ("critical", "api", "sre,api"),
        ("critical", "worker", "sre,worker"),
        ("warning", "sre", "sre"),
        ("warning", "api", "api"),
        ("warning", "worker", "worker"),
        ("info", "sre", "nobody"),
        ("info", "api", "nobody"),
        ("info", "worker", "nobody"),
        ("none", "sre", "deadman"),
    ],
)
def test_who_is_told(routes: Path, listened: Path, severity: str, team: str, category: str, told: str) -> None:
    labels = (f"severity={severity}", f"team={team}", f"category={category}")
    test = ("config", "routes", "test", f"--config.file={routes}", f"--verify.receivers={told}")
    amtool(*test, *labels)
    also = f",{category}" if severity in ("critical", "warning") else ""
    amtool("config", "routes", "test", f"--config.file={listened}", f"--verify.receivers={told}{also}", *labels)


def test_an_alert_of_no_team_belongs_to_the_sre_team(routes: Path) -> None:
    """A site's own rules, or those of others."""
    for severity in ("critical", "warning"):
        amtool("config", "routes", "test", f"--config.file={routes}", "--verify.receivers=sre", f"severity={severity}")


def test_a_severity_of_a_site_s_own_is_told_to_somebody(routes: Path) -> None:
    """As documents of sloth's specification may give it, or a rule that gives none."""
    for labels in (("severity=pageteam", "team=api"), ("alertname=Unknown",)):
        amtool("config", "routes", "test", f"--config.file={routes}", "--verify.receivers=sre", *labels)


def test_receivers_of_a_site_s_own_are_taken_as_they_are(tmp_path: Path) -> None:
    own = {
        "sre": {"pagerduty_configs": [{"routing_key": "k", "url": "https://events.pagerduty.com/v2/enqueue"}]},
        "business": {"slack_configs": [{"api_url": "https://hooks.slack.example.org/x", "channel": "#shop"}]},
        "api": {"email_configs": [{"to": "a@example.org", "from": "b@example.org", "smarthost": "mail:587"}]},
    }
    path = configuration(tmp_path, monitoring_receivers=own)
    assert "SUCCESS" in amtool("check-config", path)


Alert = dict[str, str]


class Alertmanager:
    """A real one on loopback. It tells nobody."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    find_binary("alertmanager", "alertmanager"),
                    f"--config.file={configuration(folder)}",
                    f"--storage.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=log,
            )
        self._log = folder / "log"
        try:
            eventually(self._is_ready, hope="Alertmanager answers")
        except BaseException:
            self.stop()
            raise

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        return bool(self._ask("/-/ready"))

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def silenced(self, *alerts: Mapping[str, str]) -> set[str]:
        """The names of those of these alerts that another one of them explains."""
        group = str(time.monotonic_ns())
        posted = [{**alert, "test": group} for alert in alerts]
        # News is taken in order: when the last two are known, all are.
        last = [{"alertname": "Last", "severity": severity, "test": group} for severity in ("critical", "warning")]
        self._post(posted, over=False)
        self._post(last, over=False)

        def explained() -> set[str]:
            found = json.loads(self._ask(f"/api/v2/alerts?filter=test={group}"))
            names = {_name(one["labels"]) for one in found if one["status"]["inhibitedBy"]}
            if "Last warning" not in names:
                return set()
            assert len(found) == len(posted) + len(last)
            return names

        silenced = eventually(explained, hope="all alerts are taken")
        self._post(posted + last, over=True)
        return silenced - {"Last warning"}

    def together(self, *alerts: Mapping[str, str]) -> list[set[str]]:
        """The services that share a notification to the SRE team."""
        group = str(time.monotonic_ns())
        posted = [{**alert, "test": group} for alert in alerts]
        self._post(posted, over=False)

        def notifications() -> list[list[dict[str, str]]]:
            found = json.loads(self._ask(f"/api/v2/alerts/groups?filter=test={group}&receiver=sre"))
            told = [[one["labels"] for one in notification["alerts"]] for notification in found]
            return told if sum(map(len, told)) == len(posted) else []

        told = eventually(notifications, hope="all alerts are taken")
        self._post(posted, over=True)
        return sorted(({one["service"] for one in notification} for notification in told), key=sorted)

    def _post(self, alerts: Sequence[Mapping[str, str]], *, over: bool) -> None:
        now = datetime.now(UTC)
        ends = now if over else now + timedelta(minutes=5)
        times = {"startsAt": (now - timedelta(minutes=1)).isoformat(), "endsAt": ends.isoformat()}
        self._ask("/api/v2/alerts", [{"labels": alert, **times} for alert in alerts])

    def _ask(self, path: str, content: Any = None) -> bytes:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self._url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read()


def _name(labels: Mapping[str, str]) -> str:
    told = [labels[label] for label in ("severity", "slo", "window", "node", "service") if label in labels]
    return " ".join([labels["alertname"], *told])


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """Start one for all tests of this module."""
    running = Alertmanager(tmp_path_factory.mktemp("alertmanager"))
    try:
        yield running
    finally:
        running.stop()


def alert(alertname: str, severity: str = "warning", **labels: str) -> Alert:
    """The labels of an alert."""
    return {"alertname": alertname, "severity": severity, **labels}


def test_a_node_that_is_gone_silences_its_pods_and_targets_and_no_other_s(alertmanager: Alertmanager) -> None:
    for source in ("NodeUnreachable", "NodeNotReady"):
        assert alertmanager.silenced(
            alert(source, "critical", node="worker1"),
            alert("TargetDown", job="auth", node="worker1"),
            alert("PodCrashLooping", namespace="apps", pod="a", node="worker1"),
            alert("WorkloadStuck", namespace="kube-system", workload="DaemonSet kube-router"),
            alert("TargetDown", job="auth", node="worker2"),
            alert("ServiceDown", "critical", namespace="apps", service="auth"),
        ) == {
            "TargetDown warning worker1",
            "PodCrashLooping warning worker1",
            "WorkloadStuck warning",
        }


def test_why_a_node_may_not_be_ready_is_told_as_long_as_it_can_be_known(alertmanager: Alertmanager) -> None:
    full = alert("NodeDiskFull", "critical", node="worker1", device="sda")
    assert not alertmanager.silenced(alert("NodeNotReady", "critical", node="worker1"), full)
    assert alertmanager.silenced(alert("NodeUnreachable", "critical", node="worker1"), full) == {
        "NodeDiskFull critical worker1"
    }


def test_a_node_that_is_gone_is_no_reason_for_a_workload_that_could_go_elsewhere(alertmanager: Alertmanager) -> None:
    stuck = alert("WorkloadStuck", namespace="datastores", workload="StatefulSet postgresql")
    assert not alertmanager.silenced(alert("NodeNotReady", "critical", node="worker1"), stuck)


def test_two_nodes_that_are_gone_are_both_told(alertmanager: Alertmanager) -> None:
    assert not alertmanager.silenced(
        alert("NodeUnreachable", "critical", node="worker1"), alert("NodeUnreachable", "critical", node="worker2")
    )


def test_a_page_silences_the_warning_of_the_same_thing_and_of_no_other(alertmanager: Alertmanager) -> None:
    assert alertmanager.silenced(
        alert("QueueAgeHigh", "critical", namespace="apps", service="worker"),
        alert("QueueAgeHigh", namespace="apps", service="worker"),
        alert("JobsDead", namespace="apps", service="worker"),
    ) == {"QueueAgeHigh warning worker"}
    assert alertmanager.silenced(
        alert("NodeDiskFull", "critical", node="worker1", device="sda"),
        alert("NodeDiskFull", node="worker1", device="sda"),
        alert("NodeDiskFull", node="worker1", device="sdb"),
        alert("NodeDiskFull", node="worker2", device="sda"),
    ) == {"NodeDiskFull warning worker1"}
    for label in ("certificate", "persistentvolumeclaim"):
        assert not alertmanager.silenced(
            alert("Ending", "critical", **{label: "one"}), alert("Ending", "warning", **{label: "two"})
        ), label


def test_a_service_that_is_down_silences_its_warnings_and_no_other_s(alertmanager: Alertmanager) -> None:
    assert alertmanager.silenced(
        alert("ServiceDown", "critical", namespace="apps", service="auth"),
        alert("ServiceLatencyHigh", namespace="apps", service="auth"),
        alert("PodCrashLooping", namespace="apps", service="auth", pod="a"),
        alert("ServiceLatencyHigh", namespace="apps", service="catalog"),
        alert("ServiceLatencyHigh", namespace="other", service="auth"),
        alert("DependencyDown", namespace="apps", service="orders", dependency="auth"),
    ) == {"ServiceLatencyHigh warning auth", "PodCrashLooping warning auth"}


def test_an_entrance_that_is_gone_explains_what_is_seen_of_it(alertmanager: Alertmanager) -> None:
    assert alertmanager.silenced(
        alert("GatewayDown", "critical", namespace="gateway", deployment="envoy"),
        alert("TargetDown", namespace="gateway", job="envoy", service="envoy"),
        alert("WorkloadStuck", namespace="gateway", workload="Deployment envoy"),
        alert("TargetDown", namespace="apps", job="auth", service="auth"),
    ) == {"TargetDown warning envoy", "WorkloadStuck warning"}


def test_one_page_names_all_services_that_are_down(alertmanager: Alertmanager) -> None:
    def of(service: str, severity: str = "critical", team: str = "api") -> Alert:
        return alert("ServiceDown", severity, namespace="apps", service=service) | {"team": team}

    assert alertmanager.together(of("auth"), of("orders"), of("worker", team="worker")) == [
        {"auth", "orders", "worker"}
    ]
    warnings = alertmanager.together(of("auth", "warning", "sre"), of("orders", "warning", "sre"))
    assert warnings == [{"auth"}, {"orders"}]


def test_one_datastore_explains_what_needs_it(alertmanager: Alertmanager) -> None:
    def needs(dependency: str) -> Alert:
        return alert("DependencyDown", namespace="apps", service="jobs", dependency=dependency)

    for datastore, hidden in (("PostgreSQL", {"database", "payments"}), ("Redis", {"redis"})):
        for dependency in ("database", "payments", "redis"):
            down = alert("DatastoreDown", namespace="datastores", datastore=datastore)
            assert bool(alertmanager.silenced(down, needs(dependency))) == (dependency in hidden), dependency


@pytest.mark.parametrize("page", [("SLOBurnRateHigh", "latency"), ("ServiceErrorRateHigh", "")])
def test_a_page_silences_the_warning_that_it_is_slow(alertmanager: Alertmanager, page: tuple[str, str]) -> None:
    name, slo = page
    assert alertmanager.silenced(
        alert(name, "critical", namespace="apps", service="auth", **({"slo": slo} if slo else {})),
        alert("ServiceLatencyHigh", namespace="apps", service="auth"),
        alert("ServiceLatencyHigh", namespace="apps", service="catalog"),
    ) == {"ServiceLatencyHigh warning auth"}


def test_a_page_for_a_budget_silences_the_tickets_of_the_same_objective(alertmanager: Alertmanager) -> None:
    burn = {"namespace": "apps", "service": "auth", "slo": "latency"}
    assert alertmanager.silenced(
        alert("SLOBurnRateHigh", "critical", **burn, window="1h"),
        alert("SLOBurnRateHigh", "warning", **burn, window="1d"),
        alert("SLOBurnRateHigh", "warning", **{**burn, "service": "catalog"}, window="3d"),
    ) == {"SLOBurnRateHigh warning latency 1d auth"}


def test_the_reason_silences_what_follows_from_it(alertmanager: Alertmanager) -> None:
    assert alertmanager.silenced(
        alert("ControlPlaneDown", "critical", job="etcd"),
        alert("TargetDown", job="etcd", instance="a", service="etcd"),
        alert("TargetDown", job="auth", instance="b", service="auth"),
    ) == {"TargetDown warning etcd"}
    for source in ("PodCrashLooping", "ContainerNotStarting"):
        assert alertmanager.silenced(
            alert(source, namespace="apps", pod="a", container="auth"),
            alert("TargetDown", namespace="apps", pod="a", job="auth", service="auth"),
            alert("TargetDown", namespace="apps", pod="b", job="catalog", service="catalog"),
            alert("TargetDown", job="kube-state-metrics", service="none"),
        ) == {"TargetDown warning auth"}
