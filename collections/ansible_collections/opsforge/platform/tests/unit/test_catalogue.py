# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._catalogue import bases, full_name, read, rebase
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid

ROLE = Path(__file__).parents[2] / "roles/mirror"
TOOL = {"name": "tool", "version": "1.2.3", "kind": "files", "files": ["tool"], "build": {"go": {"folder": "go/tool"}}}
IMAGE = {
    "name": "app",
    "version": "1.2.3",
    "kind": "image",
    "image": "example.org/app:v{version}",
    "build": {"dockerfile": {"folder": "images/app", "from": {"tool": []}}},
    "upstream": {},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "go/tool").mkdir(parents=True)
    (tmp_path / "go/tool/go.mod").write_text("module tool\n", encoding="utf-8")
    (tmp_path / "images/app").mkdir(parents=True)
    (tmp_path / "images/app/Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    return tmp_path


def keys(folder: Path, *wishes: dict[str, Any], source: str = "build", arch: str = "amd64") -> dict[str, str]:
    return {artifact.name: artifact.key for artifact in read(wishes, source=source, arch=arch, folder=folder)}


@pytest.mark.parametrize(
    "short, full",
    [
        ("redis", "docker.io/library/redis:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        ("envoyproxy/envoy:v1", "docker.io/envoyproxy/envoy:v1"),
        ("quay.io/a/b:1", "quay.io/a/b:1"),
        ("localhost:5000/a:1", "localhost:5000/a:1"),
        ("quay.io/a/b@sha256:0", "quay.io/a/b@sha256:0"),
    ],
)
def test_full_name(short: str, full: str) -> None:
    assert full_name(short) == full


DOCKERFILE = """\
FROM debian:bookworm-slim AS root
RUN true
from root as next
FROM scratch
COPY --from=next / /
FROM --platform=x quay.io/a:1
"""


def test_bases_leave_out_stages_and_scratch() -> None:
    assert bases(DOCKERFILE) == ["docker.io/library/debian:bookworm-slim", "quay.io/a:1"]


def test_rebase_touches_only_what_is_local() -> None:
    moved = rebase(DOCKERFILE, {"docker.io/library/debian:bookworm-slim": "127.0.0.1:5000/x:1"})
    assert moved == DOCKERFILE.replace("debian:bookworm-slim", "127.0.0.1:5000/x:1")


def test_key_covers_the_build_folder(folder: Path) -> None:
    before = keys(folder, TOOL, IMAGE)
    assert keys(folder, TOOL, IMAGE) == before
    (folder / "go/tool/go.sum").write_text("x", encoding="utf-8")
    after = keys(folder, TOOL, IMAGE)
    assert after["tool"] != before["tool"]
    assert after["app"] != before["app"], "what is built from it changes with it"


def test_key_covers_definition_architecture_and_executable_bit(folder: Path) -> None:
    before = keys(folder, TOOL)["tool"]
    assert keys(folder, TOOL | {"version": "1.2.4"})["tool"] != before
    assert keys(folder, TOOL, arch="arm64")["tool"] != before
    assert keys(folder, TOOL | {"minutes": 9})["tool"] == before, "an estimate changes no content"
    (folder / "go/tool/go.mod").chmod(0o755)
    assert keys(folder, TOOL)["tool"] != before


def test_base_image_of_the_catalogue_is_a_need(folder: Path) -> None:
    base = IMAGE | {"name": "base", "image": "docker.io/library/debian:bookworm-slim"}
    (folder / "images/base").mkdir()
    (folder / "images/base/Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    base["build"] = {"dockerfile": {"folder": "images/base"}}
    (folder / "images/app/Dockerfile").write_text("FROM debian:bookworm-slim\n", encoding="utf-8")
    artifacts = read([TOOL, base, IMAGE], source="build", arch="amd64", folder=folder)
    assert artifacts[-1].needs == ("tool", "base")


def test_a_part_is_left_out_where_nothing_is_built_from_it(folder: Path) -> None:
    part = TOOL | {"part": True}
    assert set(keys(folder, part, IMAGE)) == {"tool", "app"}
    assert set(keys(folder, part, IMAGE, source="upstream")) == {"app"}


@pytest.mark.parametrize(
    "wishes, words",
    [
        ([TOOL, TOOL], "twice"),
        ([IMAGE, TOOL], "before it"),
        ([TOOL | {"name": "../x"}], "plain"),
        ([TOOL | {"kind": "rpm"}], "known are"),
        ([{**TOOL, "build": None}], "no source"),
        ([TOOL | {"build": {"make": {}}}], "one of"),
        ([TOOL | {"build": {"dockerfile": {"folder": "images/app"}}}], "Dockerfile makes an image"),
        ([TOOL | {"build": {"go": {"folder": "go/none"}}}], "does not exist"),
        ([TOOL | {"files": []}], "must say which files"),
        ([TOOL, IMAGE | {"image": "example.org/app"}], "with its tag"),
    ],
)
def test_contradictions_are_named(folder: Path, wishes: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        keys(folder, *wishes)


@pytest.mark.parametrize("source", ["build", "upstream"])
def test_our_catalogue_is_sound(source: str) -> None:
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    artifacts = read(variables["mirror_catalogue"], source=source, arch="amd64", folder=ROLE / "files")
    images = [artifact.image for artifact in artifacts if artifact.image]
    assert len(images) == len(set(images))
    checked = [artifact for artifact in artifacts if artifact.source == "upstream" and artifact.kind == "files"]
    assert bool(checked) == (source == "upstream")
    for artifact in checked:
        assert "checksum_url" in artifact.wish or "bundles" in artifact.wish, artifact.name


def test_the_mirror_has_every_image_that_a_role_runs() -> None:
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    artifacts = read(variables["mirror_catalogue"], source="build", arch="amd64", folder=ROLE / "files")
    images = {full_name(artifact.image) for artifact in artifacts if artifact.image}
    for path in sorted(ROLE.parent.glob("*/defaults/main.yml")):
        defaults = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        asked = {value for name, value in defaults.items() if name.endswith("_image") and "{" not in value}
        assert {image for image in asked if full_name(image) not in images} == set(), path.parent.parent.name
