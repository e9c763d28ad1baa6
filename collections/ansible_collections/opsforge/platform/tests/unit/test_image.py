# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a version is built once, from content alone."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _image
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound, NotReady, Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._image import Recipe
from ansible_collections.opsforge.platform.plugins.module_utils._registry import Manifest, Reference

WHERE = Reference("127.0.0.1:5000", "registry.opsforge.dev/opsforge/auth", "1.0.0")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    for name in ("app/main.py", "app/tests/test_main.py", "app/__pycache__/main.pyc", "Dockerfile", "secret"):
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "bundle.pem").write_text("bundle")
    extras = {"ca.crt": tmp_path / "bundle.pem", "pip.conf": tmp_path / "absent"}
    return Recipe(tmp_path / "checkout", ["app"], "Dockerfile", {"VERSION": "1.0.0"}, extras)


class Docker:
    """An engine that remembers what it was asked, and fails at one command."""

    def __init__(self, failing: str = "") -> None:
        self.commands: list[list[str]] = []
        self.context: list[str] = []
        self._failing = failing

    def __call__(self, command: list[str], stdin: Any, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(command)
        if command[1] == "build":
            with tarfile.open(fileobj=io.BytesIO(stdin.read())) as context:
                self.context = context.getnames()
        return subprocess.CompletedProcess(command, int(command[1] == self._failing), b"first\nlast words\n")


def test_the_image_is_built_pushed_and_tidied_up(recipe: Recipe) -> None:
    docker = Docker()
    _image.build(WHERE, recipe, run=docker)
    tag = "127.0.0.1:5000/registry.opsforge.dev/opsforge/auth:1.0.0"
    assert [command[1] for command in docker.commands] == ["build", "push", "image"]
    assert all(tag in command for command in docker.commands)
    assert "VERSION=1.0.0" in docker.commands[0]


def test_the_context_holds_what_was_named_without_tests_and_caches(recipe: Recipe) -> None:
    docker = Docker()
    _image.build(WHERE, recipe, run=docker)
    assert docker.context == ["app", "app/main.py", "Dockerfile", "ca.crt"]


def test_the_same_content_gives_the_same_context(recipe: Recipe) -> None:
    contexts = []
    for moment in (1, 2):
        os.utime(recipe.context / "app/main.py", (moment, moment))
        sink = io.BytesIO()
        recipe.pack(sink)
        contexts.append(sink.getvalue())
    assert contexts[0] == contexts[1]


def test_without_sources_the_error_says_what_is_missing(recipe: Recipe) -> None:
    (recipe.context / "Dockerfile").unlink()
    docker = Docker()
    with pytest.raises(NotFound, match=r"auth:1.0.0 is not in the registry .* has no Dockerfile"):
        _image.build(WHERE, recipe, run=docker)
    assert docker.commands == []


def test_a_failed_build_is_not_pushed_and_shows_its_last_words(recipe: Recipe) -> None:
    docker = Docker(failing="build")
    with pytest.raises(NotReady, match="last words"):
        _image.build(WHERE, recipe, run=docker)
    assert [command[1] for command in docker.commands] == ["build"]


class Shelf:
    """A registry with one answer."""

    def __init__(self, answer: Exception | None = None, sources: str | None = None) -> None:
        self._answer = answer
        self._labels = {} if sources is None else {_image.SOURCES_LABEL: sources}

    def manifest(self, repository: str, version: str) -> Manifest:
        if self._answer:
            raise self._answer
        return Manifest("", b'{"config": {}, "layers": []}')

    def configuration(self, repository: str, manifest: Manifest) -> dict[str, Any]:
        return {"config": {"Labels": self._labels or None}}


def test_presence() -> None:
    assert _image.find(Shelf(), WHERE)  # type: ignore[arg-type]
    assert not _image.find(Shelf(NotFound("")), WHERE)  # type: ignore[arg-type]
    assert not _image.find(Shelf(Unreachable("")), WHERE, check_mode=True)  # type: ignore[arg-type]
    with pytest.raises(Unreachable):
        _image.find(Shelf(Unreachable("")), WHERE)  # type: ignore[arg-type]


def is_stale(recipe: Recipe, sources: str | None) -> bool:
    shelf: Any = Shelf(sources=sources)
    found = _image.find(shelf, WHERE)
    assert found
    return _image.is_stale(shelf, WHERE, found, recipe)


def test_an_image_of_other_sources_is_made_again_and_one_that_says_nothing_is_taken(recipe: Recipe) -> None:
    docker = Docker()
    _image.build(WHERE, recipe, run=docker)
    (label,) = (word for word in docker.commands[0] if word.startswith(_image.SOURCES_LABEL))
    made_from = label.partition("=")[2]
    moved = replace(WHERE, host="127.0.0.1:5001")
    for where in (WHERE, moved):
        base = replace(recipe, args={"BASE": f"{where.host}/python:3.11"})
        assert base.sources(where.host) == replace(recipe, args={"BASE": "python:3.11"}).sources(WHERE.host)
    assert not is_stale(recipe, made_from)
    assert not is_stale(recipe, None) and not is_stale(recipe, "")
    (recipe.context / "app/tests/test_main.py").write_text("another test")
    (recipe.extras["ca.crt"]).write_text("another bundle")
    assert not is_stale(recipe, made_from)
    assert is_stale(replace(recipe, args={"VERSION": "1.0.1"}), made_from)
    (recipe.context / "app/main.py").write_text("changed")
    assert is_stale(recipe, made_from)
    (recipe.context / "Dockerfile").unlink()
    assert not is_stale(recipe, made_from)
