# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples reach a second Prometheus, which asks for a password, by the configuration that the role renders."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml

from ansible_collections.opsforge.platform.tests.unit.monitoring.rendering import prometheus_config, render

from .control_plane import free_ports
from .patience import eventually
from .prometheus import Asked, prometheus

USER, PASSWORD = "opsforge", "hush"
# bcrypt of the password, at its lowest cost.
HASH = "$2b$04$abcdefghijklmnopqrstuuppZFpU9n.F.R29ic//YRPBUgRHbgy9m"
LOGIN = {"Authorization": f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"}


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
        sender_asked, receiver_asked = Asked(here), Asked(there, LOGIN)
        if arrives:
            query = 'up{job="prometheus",platform="test",environment="local"}'
            eventually(lambda: receiver_asked.number(query) == 1, hope="the sender's samples arrive")
        else:
            refused = "prometheus_remote_storage_samples_failed_total"
            eventually(lambda: sender_asked.number(refused), hope="the sender counts what was refused")
            assert receiver_asked.number("up") is None
