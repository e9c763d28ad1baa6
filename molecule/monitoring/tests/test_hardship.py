# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong is refused before it lands, or told; a crash of Prometheus loses what it missed, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._prometheus import PROMETHEUS_DEFAULTS, Prometheus
from benchmarks._load import Load

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.thorough

CHECKOUT = Path(__file__).parents[3]
HTTP_NODE_PORT = 30080
GONE_SECONDS_MAX = 60
STARTED = "process_start_time_seconds{job='prometheus'}"
# Its processes seen from the node; no program for it is there for certain.
KILL = (
    'for one in /proc/[0-9]*; do [ "$(cat $one/comm)" = prometheus ] && kill -9 "${one#/proc/}"; done 2>/dev/null; true'
)
BROKEN: dict[str, Any] = {"name": "mine", "rules": [{"alert": "Mine", "expr": "sum by (service (up)"}]}


def refused(site: Site, *words: str, **options: Any) -> None:
    """Run the role with options that it has to refuse, in these words, and see that nothing was written."""

    def version() -> str:
        found = site.cluster.get("v1", "ConfigMap", "prometheus", "monitoring")
        assert found is not None
        return str(found["metadata"]["resourceVersion"])

    before = version()
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/site.yml", "--tags", "monitoring"]
    env = {**os.environ, "OPSFORGE_PLATFORM": site.platform, "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(
        [*command, "-e", json.dumps(options)], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False
    )
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    for word in words:
        assert word in said, said[-2000:]
    assert version() == before


def prometheus(site: Site) -> Prometheus:
    return Prometheus.of(PROMETHEUS_DEFAULTS, site.cluster)


def test_a_rule_that_prometheus_would_refuse_never_lands(site: Site) -> None:
    refused(site, "Prometheus would refuse this", "parse error", monitoring_extra_rule_groups=[BROKEN])


def test_nor_does_an_objective_that_cannot_be_kept(site: Site) -> None:
    promise = {"availability_percent": 101, "latency_seconds": 0.5, "latency_percent": 99}
    refused(site, "auth", "101", monitoring_services={"auth": {"version": "1.0.0", "slo": promise}})


def test_nor_is_anything_watched_with_nobody_to_tell(site: Site) -> None:
    refused(
        site,
        "told to nobody",
        "must have deadman",
        monitoring_receivers_required=["sre", "deadman"],
        monitoring_webhooks={"sre": {"url": "http://sre.example.org"}},
    )


def test_a_rule_broken_by_hand_is_told_and_the_old_ones_go_on(site: Site) -> None:
    where = ("v1", "ConfigMap", "prometheus", "monitoring")
    asked = prometheus(site)

    def write(text: str | None) -> None:
        site.cluster.patch(*where, {"data": {"rules-broken.yml": text}}, manager="somebody")

    write("groups: [{name: broken, rules: [{record: 'a b', expr: '('}]}]")
    try:
        site.eventually(lambda: asked.ask("prometheus_config_last_reload_successful") == 0, 240)
        site.eventually(
            lambda: asked.ask('count(ALERTS{alertname="MonitoringConfigRejected",alertstate="firing"})'), 180
        )
        assert asked.ask('count(ALERTS{alertname="Watchdog",alertstate="firing"})') == 1
    finally:
        # Corrected first: Prometheus reads nothing again that is once more what it read last.
        write("groups: [{name: mended, rules: [{record: 'mine:one', expr: '1'}]}]")
        site.eventually(lambda: asked.ask("mine:one") == 1, 240)
        write(None)
    site.eventually(lambda: asked.ask("prometheus_config_last_reload_successful") == 1, 60)


def test_a_crash_under_load_loses_what_it_missed_and_no_more(site: Site, tmp_path: Path) -> None:
    asked = prometheus(site)
    pod = site.cluster.get("v1", "Pod", "prometheus-0", "monitoring")
    assert pod is not None
    [before] = pod["status"]["containerStatuses"]
    began = asked.ask("time()")
    started = asked.ask(STARTED)
    oldest = asked.ask("min(min_over_time(timestamp(up)[15m:15s]))")
    assert began and started and oldest
    with Load(f"http://{site.published(HTTP_NODE_PORT)}/catalog/products?limit=5", 50, 300, tmp_path / "load") as load:
        node = f"{site.platform}-{pod['spec']['nodeName']}"
        subprocess.run(["docker", "exec", node, "sh", "-c", KILL], check=True, capture_output=True)

        def is_back() -> bool:
            found = site.cluster.get("v1", "Pod", "prometheus-0", "monitoring")
            assert found is not None
            [status] = found["status"]["containerStatuses"]
            return bool(status["restartCount"] > before["restartCount"] and status["ready"])

        site.eventually(is_back, 180)
        # Two scrapes after it came back.
        running = f"time() - ({STARTED} > {started:.3f})"
        site.eventually(lambda: (asked.ask(running) or 0) > 30, 120)
    assert [one for one in load.requests() if one.is_lost] == [], "people did not notice"
    assert asked.ask(f"min(min_over_time(timestamp(up)[15m:15s] @ {began:.3f}))") == oldest, "what it had is there"
    # A minute without any is nothing to count, not none.
    per_minute = asked.ask('min_over_time((sum(count_over_time(up{job="kube-apiserver"}[1m])) or vector(0))[5m:5s])')
    assert per_minute and per_minute >= 1, f"the gap is shorter than {GONE_SECONDS_MAX} s"
    assert not asked.ask('count(ALERTS{alertstate="firing",severity="critical"})'), "nobody is woken by it"
