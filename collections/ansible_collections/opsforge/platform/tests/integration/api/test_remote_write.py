# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples reach a second Prometheus, which asks for a password, by the configuration that the role renders."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.tests.unit.monitoring.rendering import prometheus_config, render

from .control_plane import find_binary, free_ports

PATIENCE = 60  # seconds
USER, PASSWORD = "opsforge", "hush"
# bcrypt of the password, at its lowest cost.
HASH = "$2b$04$abcdefghijklmnopqrstuuppZFpU9n.F.R29ic//YRPBUgRHbgy9m"


@contextmanager
def prometheus(folder: Path, port: int, config: dict[str, Any], *words: str) -> Iterator[None]:
    """A Prometheus on loopback."""
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [
        str(find_binary("prometheus", "prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *words,
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def number(port: int, query: str) -> float | None:
    """The one number that a Prometheus answers with; None if it has none, or is not up yet."""
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            result = json.load(answer)["data"]["result"]
    except OSError:
        return None
    return float(result[0]["value"][1]) if result else None


def await_number(port: int, query: str) -> float:
    """Ask until there is one above 0."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := number(port, query):
            return found
        time.sleep(0.1)  # it starts, scrapes and sends
    raise AssertionError(f"{query} had no number for {PATIENCE} s")


@pytest.mark.parametrize("password, arrives", [(PASSWORD, True), ("wrong", False)])
def test_samples_arrive_with_the_right_password(tmp_path: Path, password: str, arrives: bool) -> None:
    here, there = free_ports(2)
    store = {"url": f"http://127.0.0.1:{there}/api/v1/write", "username": USER, "password": password}
    objects = render(monitoring_remote_write=[store], monitoring_scrape_interval="1s")
    # The pod's Secret, where this machine has it.
    text = json.dumps(prometheus_config(objects)).replace("/etc/prometheus-secrets", str(tmp_path))
    for name, secret in objects["Secret", "prometheus-remote-write"]["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(secret))
    rendered = json.loads(text)
    # There is no cluster to find targets in, so it reads itself.
    itself = {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{here}"]}]}
    sender = {key: rendered[key] for key in ("global", "remote_write")} | {"scrape_configs": [itself]}
    login = tmp_path / "login.yml"
    login.write_text(yaml.safe_dump({"basic_auth_users": {USER: HASH}}), encoding="utf-8")

    with (
        prometheus(
            tmp_path / "receiver", there, {}, "--web.enable-remote-write-receiver", f"--web.config.file={login}"
        ),
        prometheus(tmp_path / "sender", here, sender),
    ):
        if arrives:
            assert await_number(there, 'up{job="prometheus",platform="test",environment="local"}') == 1
        else:
            await_number(here, "prometheus_remote_storage_samples_failed_total")
            assert number(there, "up") is None
