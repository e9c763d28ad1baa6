# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opsforge.platform.plugins.module_utils._engine import Container
from ansible_collections.opsforge.platform.plugins.module_utils._mirror import is_serving, refusal
from ansible_collections.opsforge.platform.plugins.modules import mirror_info

OURS = Container("opsforge-registry", True, "opsforge", "/srv/opsforge", "1")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_refused_by_its_number(taken: int) -> None:
    message = refusal([], platform="opsforge", ports={"opsforge-registry": taken})
    assert f"Port {taken} on 127.0.0.1 is in use" in message
    stopped = Container("opsforge-registry", False, "opsforge", "/srv/opsforge")
    assert "in use" in refusal([stopped], platform="opsforge", ports={"opsforge-registry": taken})


def test_our_own_running_container_may_hold_its_port(taken: int) -> None:
    assert refusal([OURS], platform="opsforge", ports={"opsforge-registry": taken}) == ""


def test_somebody_elses_container_is_left_alone() -> None:
    other = Container("opsforge-registry", True, "", "")
    assert "not of the platform" in refusal([other], platform="opsforge", ports={"opsforge-registry": 1})


@pytest.mark.parametrize(
    "containers, serving",
    [
        ([OURS], True),
        ([], False),
        ([Container("opsforge-registry", False, "opsforge", "/srv/opsforge", "1")], False),
        ([Container("opsforge-registry", True, "opsforge", "/srv/opsforge", "0")], False),
    ],
)
def test_is_serving(containers: list[Container], serving: bool) -> None:
    assert is_serving(containers, names=["opsforge-registry"], config="1") is serving


def ask(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], *wishes: dict[str, Any], check: bool = True
) -> dict[str, Any]:
    args = {
        "catalogue": list(wishes),
        "folder": str(tmp_path),
        "cache": str(tmp_path / "cache"),
        "registry": "127.0.0.1:1",
        "docker": str(tmp_path / "no-docker"),
        "platform": "opsforge",
        "ports": {},
        "config": "1",
        "_ansible_check_mode": check,
    }
    with patch_module_args(args), pytest.raises(SystemExit):
        mirror_info.main()
    return dict(json.loads(capfd.readouterr().out))


def folder(tmp_path: Path, name: str) -> str:
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / name / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    (tmp_path / name / "go.mod").write_text("module x\n\ngo 1.26.0\n", encoding="utf-8")
    return name


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Go that only says its version."""
    path = tmp_path / "programs/go"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho go1.26.8\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    return path


def test_the_work_ahead_starts_with_what_the_mirror_runs_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], go: Path
) -> None:
    files = {"version": "1", "kind": "files", "files": ["x"]}
    image = {"version": "1", "kind": "image"}
    answer = ask(
        tmp_path,
        capfd,
        files | {"name": "late", "minutes": 3, "build": {"go": {"folder": folder(tmp_path, "late")}}},
        files | {"name": "early", "build": {"debian": {"packages": ["x"]}}},
        image
        | {
            "name": "mirror",
            "local": True,
            "image": "opsforge/mirror:1",
            "build": {"dockerfile": {"folder": folder(tmp_path, "mirror"), "from": {"early": []}}},
        },
    )
    assert [step["title"] for step in answer["early"]] == ["early 1 (1 of 3)", "mirror 1 (2 of 3)"]
    assert [step["title"] for step in answer["rest"]] == ["late 1 (3 of 3, about 3 min)"]
    assert answer["recipes"] == ["debian", "dockerfile", "go"]
    assert answer["folders"] == ["registry", "files", "store"]
    assert answer["engine"] is False
    assert answer["serving"] is False
    assert not (tmp_path / "cache").exists()


def test_without_an_engine_there_is_no_mirror(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "No container engine answers" in ask(tmp_path, capfd, check=False)["msg"]


def test_a_bad_catalogue_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(tmp_path, capfd, {"name": "x", "version": "1", "kind": "rpm"})["msg"].count(".") == 1


@pytest.mark.parametrize("version, words", [("go1.19.8", "needs Go 1.26.0 or newer"), (None, "which is not installed")])
def test_a_compiler_that_will_not_do_is_refused_before_anything_is_built(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], go: Path, version: str | None, words: str
) -> None:
    if version:
        go.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
    else:
        go.unlink()
    build = {"go": {"folder": folder(tmp_path, "tool")}}
    answer = ask(tmp_path, capfd, {"name": "tool", "version": "1", "kind": "files", "files": ["x"], "build": build})
    assert words in answer["msg"]
    assert not (tmp_path / "cache").exists()
