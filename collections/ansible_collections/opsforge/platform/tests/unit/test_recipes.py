# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds, with stand-ins for the programs that they call: each notes how it was called."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _recipes
from ansible_collections.opsforge.platform.plugins.module_utils._cache import Cache
from ansible_collections.opsforge.platform.plugins.module_utils._catalogue import read
from ansible_collections.opsforge.platform.plugins.module_utils._download import Web
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._recipes import Job, Settings, Shell

Program = Callable[..., None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a stand-in shell script of that name before the real program."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.calls\n{script}\n', encoding="utf-8")
        path.chmod(0o755)

    return make


def job(tmp_path: Path, wish: dict[str, Any], *before: dict[str, Any]) -> Job:
    artifacts = read([*before, wish], source="build", arch="amd64", folder=tmp_path)
    work = tmp_path / "work"
    (work / "made/files").mkdir(parents=True)
    cache = Cache(tmp_path / "cache")
    return Job(
        artifact=artifacts[-1],
        catalogue={artifact.name: artifact for artifact in artifacts},
        work=work,
        out=work / "made/files",
        cache=cache,
        settings=Settings(arch="amd64", registry="127.0.0.1:5000", ca_bundle=str(tmp_path / "ca.pem")),
        shell=Shell("tool 1.0", tmp_path / "logs/tool.log"),
        web=Web(),
    )


def go_wish(tmp_path: Path, **build: Any) -> dict[str, Any]:
    (tmp_path / "go/tool").mkdir(parents=True, exist_ok=True)
    (tmp_path / "go/tool/go.mod").write_text("module tool\n\ngo 1.26.0\n", encoding="utf-8")
    build = {"go": {"folder": "go/tool", **build}}
    return {"name": "tool", "version": "1.0", "kind": "files", "files": ["tool"], "build": build}


def test_go_pins_everything(tmp_path: Path, program: Program) -> None:
    build = f"env > {tmp_path}/env; for w; do case $w in */files/) : > $w/server ;; esac; done"
    program("go", f"case $1 in env) echo go1.26.8 ;; build) {build} ;; esac")
    wish = go_wish(tmp_path, ldflags=["-X a.b=v{version}"], tags=["x", "y"], output={"server": "tool"})
    made = job(tmp_path, wish)
    _recipes.go(made)
    assert (made.out / "tool").is_file()
    call = (tmp_path / "go.calls").read_text(encoding="utf-8").splitlines()[-1]
    assert "build -trimpath -ldflags=-s -w -X a.b=v1.0 -tags=x,y -o" in call
    env = (tmp_path / "env").read_text(encoding="utf-8").splitlines()
    wanted = {"CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOFLAGS=-mod=readonly -buildvcs=false", "GOARCH=amd64", "GOGC=400"}
    assert wanted - set(env) == set()


@pytest.mark.parametrize(
    "have, want, enough",
    [
        ("go1.26.8", "1.26.0", True),
        ("go1.26", "1.26.7", False),
        ("go1.9.1", "1.26", False),
        ("go1.27.0-x", "1.26.8", True),
    ],
)
def test_is_newer_or_same(have: str, want: str, enough: bool) -> None:
    assert _recipes.is_newer_or_same(have, want) is enough


def test_old_go_is_one_sentence(tmp_path: Path, program: Program) -> None:
    program("go", "echo go1.19.8")
    with pytest.raises(PlatformError, match=r"needs Go 1\.26\.0 or newer, and go1\.19\.8 is installed"):
        _recipes.go(job(tmp_path, go_wish(tmp_path)))


def test_no_go_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match="is not installed: install it, or set mirror_source to upstream"):
        _recipes.go(job(tmp_path, go_wish(tmp_path)))


def test_a_failed_build_ends_with_its_last_lines(tmp_path: Path, program: Program) -> None:
    program("go", "case $1 in env) echo go1.27 ;; *) seq 100; echo the reason >&2; exit 1 ;; esac")
    with pytest.raises(PlatformError) as failure:
        _recipes.go(job(tmp_path, go_wish(tmp_path)))
    message = str(failure.value)
    assert message.startswith("tool 1.0 did not build; the whole output is in ")
    assert message.endswith("\n100\nthe reason")
    assert "\n50\n" not in message
    assert "\n50\n" in (tmp_path / "logs/tool.log").read_text(encoding="utf-8")


def test_files_of_a_module_are_joined(tmp_path: Path, program: Program) -> None:
    (tmp_path / "module/crds").mkdir(parents=True)
    (tmp_path / "module/crds/b.yaml").write_text("{{- if .x }}\n---\nb: 1\n{{- end }}\n", encoding="utf-8")
    (tmp_path / "module/crds/a.yaml").write_text("a: '{{ kept }}'\n", encoding="utf-8")
    program(
        "go", f"""case $1 in env) echo go1.27 ;; *) echo '{json.dumps({"Dir": str(tmp_path / "module")})}' ;; esac"""
    )
    wish = go_wish(tmp_path)
    bundle = {"module": "example.org/x", "files": ["crds/*.yaml"]}
    wish["build"] = {"module": {"folder": "go/tool", "bundles": {"all.yaml": bundle}}}
    made = job(tmp_path, wish)
    _recipes.module(made)
    assert (made.out / "all.yaml").read_text(encoding="utf-8") == "a: '{{ kept }}'\n---\n---\nb: 1\n"
    made.artifact.wish["bundles"]["all.yaml"]["files"] = ["none/*"]
    with pytest.raises(Invalid, match="holds no none"):
        _recipes.module(made)


def test_a_file_out_of_a_wheel(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as wheel:
        wheel.writestr("pkg/bin/tool", "binary")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "tool.whl").write_bytes(sink.getvalue())
    program("python", f"mkdir -p {tmp_path}/work/wheels && cp {tmp_path}/tool.whl {tmp_path}/work/wheels/")
    monkeypatch.setattr(_recipes.sys, "executable", str(tmp_path / "programs/python"))
    wish = go_wish(tmp_path)
    wish["build"] = {"wheel": {"folder": "wheels", "members": {"tool": "pkg/bin/tool"}}}
    made = job(tmp_path, wish)
    _recipes.wheel(made)
    assert (made.out / "tool").read_text(encoding="utf-8") == "binary"
    assert (made.out / "tool").stat().st_mode & 0o111
    call = (tmp_path / "python.calls").read_text(encoding="utf-8")
    assert "--no-deps --require-hashes --only-binary=:all:" in call


def test_an_image_is_built_from_the_mirror_and_cleans_up(tmp_path: Path, program: Program) -> None:
    folder = tmp_path / "images/app"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(
        "FROM debian:bookworm-slim AS a\nFROM b/c:1\nCOPY bin/tool /\n", encoding="utf-8"
    )
    (tmp_path / "images/base").mkdir()
    (tmp_path / "images/base/Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    (tmp_path / "ca.pem").write_text("certificates", encoding="utf-8")
    base = {
        "name": "debian",
        "version": "12",
        "kind": "image",
        "image": "docker.io/library/debian:bookworm-slim",
        "build": {"dockerfile": {"folder": "images/base"}},
    }
    image = {
        "name": "app",
        "version": "1.0",
        "kind": "image",
        "image": "opsforge/app:{version}",
        "local": True,
        "build": {"dockerfile": {"folder": "images/app", "from": {"tool": []}}},
    }
    # Asked for untagged images: first someone else's; then another one of theirs, and the stage that this build left.
    left = f"if [ -e {tmp_path}/built ]; then echo aaaaaaaaaaaa; echo cccccccccccc; fi; echo bbbbbbbbbbbb"
    build = f"touch {tmp_path}/built; for last; do :; done; cp -r $last {tmp_path}/seen; echo ' ---> aaaaaaaaaaaa'"
    program(
        "docker",
        f'case "$1 $2" in "image ls") {left} ;; build*) {build} ;; "image inspect") echo sha256:1 ;; esac',
    )
    made = job(tmp_path, image, go_wish(tmp_path), base)
    source = made.cache.files(made.catalogue["tool"])
    source.mkdir(parents=True)
    (source / "tool").write_text("binary", encoding="utf-8")
    assert _recipes.dockerfile(made) == {"image": "sha256:1"}
    seen = tmp_path / "seen"
    assert (seen / "bin/tool").read_text(encoding="utf-8") == "binary"
    assert (seen / "ca.crt").read_text(encoding="utf-8") == "certificates"
    assert "FROM 127.0.0.1:5000/docker.io/library/debian:bookworm-slim AS a\nFROM b/c:1\n" in (
        seen / "Dockerfile"
    ).read_text(encoding="utf-8")
    calls = (tmp_path / "docker.calls").read_text(encoding="utf-8").splitlines()
    assert "image rm aaaaaaaaaaaa" in calls
    assert not any(call.startswith("push") for call in calls)
