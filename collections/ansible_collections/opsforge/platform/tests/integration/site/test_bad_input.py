# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets one clear sentence, and nothing is half done."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.opsforge.platform.tests.integration.site.harness import CHECKOUT, Run, play

pytestmark = pytest.mark.site


def refused(run: Run, *words: str) -> None:
    """The run failed before any change, with one message that holds the words."""
    assert run.code != 0, run.output
    assert run.changed == []
    assert len(run.failures) == 1, run.failures
    missing = [word for word in words if word not in run.failures[0]]
    assert missing == [], run.failures[0]


def test_unknown_service() -> None:
    refused(play("release", "-e", "service=nonsense", "-e", "version=1.0.0"), "nonsense", "auth")


@pytest.mark.parametrize("version", ["../../etc", "latest image", "-rf", ""])
def test_bad_version(version: str) -> None:
    refused(play("release", "-e", "service=auth", "-e", f"version='{version}'"), "version")


def test_missing_version() -> None:
    refused(play("release", "-e", "service=auth"), "version")


def test_rollback_of_an_unknown_service() -> None:
    refused(play("rollback", "-e", "service=nonsense"), "nonsense", "auth")


def test_port_in_use(spare_platform: str) -> None:
    asked = subprocess.run(
        [
            Path(sys.executable).with_name("ansible"),
            "localhost",
            "--module-name=ansible.builtin.debug",
            "--args=msg={{ platform_http_port }}",
            "--one-line",
        ],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "OPSFORGE_PLATFORM": spare_platform},
        check=True,
        capture_output=True,
        text=True,
    )
    port = int("".join(filter(str.isdigit, asked.stdout.split("msg")[-1])))
    with socket.create_server(("127.0.0.1", port)):
        refused(play("site", "--tags", "hosts", platform=spare_platform), str(port), "in use")


@pytest.mark.parametrize("wish, words", [("engine_min_free_disk_bytes", "disk"), ("engine_min_memory_bytes", "memory")])
def test_too_small_a_machine(spare_platform: str, wish: str, words: str) -> None:
    refused(play("site", "-e", f"{wish}={10**17}", platform=spare_platform), words)


def test_second_checkout(tmp_path: Path) -> None:
    """The same platform from another folder would fight with this one."""
    refused(
        play("site", "--tags", "hosts", "-e", f"platform_checkout_dir={tmp_path}"), str(CHECKOUT), "OPSFORGE_PLATFORM"
    )


def test_unreachable_host(tmp_path: Path) -> None:
    shared = tmp_path / "group_vars/all"
    shared.mkdir(parents=True)
    (shared / "00_shared.yml").symlink_to(CHECKOUT / "group_vars/shared.yml")
    controller = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    nowhere = {"ansible_host": "127.0.0.1", "ansible_port": 9, "node_address": "127.0.0.1"}
    groups = {"nodes": {"children": {"control_plane": {"hosts": {"nowhere": nowhere}}}}}
    inventory = {"all": {"hosts": {"localhost": controller}, "children": groups}}
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")
    refused(play("site", inventory=str(tmp_path)), "127.0.0.1")


def test_wrong_vault_password(tmp_path: Path) -> None:
    right, wrong, secret = tmp_path / "right", tmp_path / "wrong", tmp_path / "secret.yml"
    right.write_text("right\n", encoding="utf-8")
    wrong.write_text("wrong\n", encoding="utf-8")
    secret.write_text("platform_secret: value\n", encoding="utf-8")
    vault = Path(sys.executable).with_name("ansible-vault")
    subprocess.run([vault, "encrypt", secret, "--vault-password-file", right], check=True, capture_output=True)
    run = play("site", "-e", f"@{secret}", "--vault-password-file", str(wrong))
    assert run.code != 0
    assert "Decryption failed" in run.output
    assert "Traceback" not in run.output
