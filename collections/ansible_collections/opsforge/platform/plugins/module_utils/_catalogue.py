# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: what the platform installs, which version, and how each artifact is had.

Pure: reads the files of build folders, writes nothing, asks no network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid

# Part of every key: raise it when what a build makes changes though its definition does not.
SCHEME = 1
KINDS = ("files", "image")
RECIPES = ("go", "module", "wheel", "debian", "debootstrap", "dockerfile")
SOURCES = ("build", "upstream")
FROM_LINE = re.compile(r"^(FROM\s+(?:--platform=\S+\s+)?)(\S+)(.*)$", re.IGNORECASE)
IMAGE = re.compile(r"[a-z0-9][a-z0-9./_-]*:[\w][\w.-]*")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Artifact:
    """One line of the catalogue, with the source that is to be used already chosen."""

    name: str
    version: str
    kind: str
    source: str
    recipe: str
    wish: Mapping[str, Any]
    files: tuple[str, ...]
    image: str
    minutes: float
    local: bool
    part: bool
    folder: Path | None
    needs: tuple[str, ...]
    key: str = ""

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"{self.name} {self.version}"


def full_name(reference: str) -> str:
    """The image reference with registry and tag, as docker means it: `redis` is docker.io/library/redis:latest."""
    host, _, rest = reference.partition("/")
    if not rest or not (("." in host) or (":" in host) or host == "localhost"):
        host, rest = "docker.io", reference
    if host == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    if ":" not in rest and "@" not in rest:
        rest += ":latest"
    return f"{host}/{rest}"


def bases(dockerfile: str) -> list[str]:
    """The full names of the images that a Dockerfile starts from, without its own stages and `scratch`."""
    found: list[str] = []
    stages: set[str] = {"scratch"}
    for line in dockerfile.splitlines():
        match = FROM_LINE.match(line.strip())
        if match is None:
            continue
        words = match[3].split()
        if match[2].lower() not in stages:
            found.append(full_name(match[2]))
        if len(words) == 2 and words[0].lower() == "as":
            stages.add(words[1].lower())
    return list(dict.fromkeys(found))


def rebase(dockerfile: str, local: Mapping[str, str]) -> str:
    """The Dockerfile with each base image of `local` (full name: where to pull it) taken from there."""

    def line_from(line: str) -> str:
        match = FROM_LINE.match(line)
        if match is None:
            return line
        return f"{match[1]}{local.get(full_name(match[2]), match[2])}{match[3]}"

    return "\n".join(map(line_from, dockerfile.splitlines())) + "\n"


def read(wishes: Iterable[Mapping[str, Any]], *, source: str, arch: str, folder: Path) -> list[Artifact]:
    """The catalogue in the order in which it is built, every artifact with its key.

    `source` is preferred where an artifact offers both; `folder` holds the build folders. An artifact that is only a
    part of others is left out where none of them is built.
    Raises Invalid, naming the artifact, where the catalogue contradicts itself.
    """
    artifacts: dict[str, Artifact] = {}
    images: dict[str, str] = {}
    for wish in wishes:
        artifact = _artifact(wish, source, arch, folder, images)
        if artifact.name in artifacts:
            raise Invalid(f"The catalogue names {artifact.name} twice.")
        for need in artifact.needs:
            if need not in artifacts:
                raise Invalid(f"{artifact.name} is built from {need}, which must stand before it in the catalogue.")
        keyed = _with_key(artifact, arch, {need: artifacts[need].key for need in artifact.needs})
        artifacts[artifact.name] = keyed
        if keyed.image:
            images[full_name(keyed.image)] = keyed.name
    return _wanted(artifacts)


def expand(value: Any, words: Mapping[str, str]) -> Any:
    """The value with {version}, {arch} and the like replaced in every string of it."""
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace("{" + word + "}", text)
        return value
    if isinstance(value, Mapping):
        return {expand(key, words): expand(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, words) for item in value]
    return value


def _artifact(wish: Mapping[str, Any], source: str, arch: str, folder: Path, images: Mapping[str, str]) -> Artifact:
    name, version, kind = str(wish.get("name", "")), str(wish.get("version", "")), str(wish.get("kind", ""))
    if not NAME.fullmatch(name) or not NAME.fullmatch(version):
        raise Invalid(
            f"The catalogue holds an artifact with the name '{name}' and version '{version}': both must be plain."
        )
    if kind not in KINDS:
        raise Invalid(f"{name} in the catalogue is of kind '{kind}'; known are {' and '.join(KINDS)}.")
    if not any(wish.get(known) is not None for known in SOURCES):
        raise Invalid(f"{name} in the catalogue has no source: give it upstream or build.")
    used = source if wish.get(source) is not None else next(known for known in SOURCES if wish.get(known) is not None)
    major, _, rest = version.partition(".")
    words = {"version": version, "major": major, "minor": rest.partition(".")[0], "arch": arch}
    wanted = expand(wish[used], words)
    recipe = "upstream"
    if used == "build":
        if not isinstance(wanted, Mapping) or len(wanted) != 1 or next(iter(wanted)) not in RECIPES:
            raise Invalid(f"{name} in the catalogue is built by one of {', '.join(RECIPES)}.")
        recipe, wanted = next(iter(wanted.items()))
    if used == "build" and (recipe == "dockerfile") != (kind == "image"):
        raise Invalid(f"{name} in the catalogue: a Dockerfile makes an image, and everything else makes files.")
    files = tuple(expand(wish.get("files") or [], words))
    image = str(expand(wish.get("image") or "", words)) if kind == "image" else ""
    if kind == "image" and not IMAGE.fullmatch(image) or kind == "files" and not files:
        raise Invalid(f"{name} in the catalogue must say which {kind} it gives (an image with its tag).")
    home = folder / wanted["folder"] if wanted.get("folder") else None
    if home is not None and not home.is_dir():
        raise Invalid(f"{name} in the catalogue is built in {home}, which does not exist.")
    needs = list(wanted.get("from") or {}) if recipe == "dockerfile" else []
    if recipe == "dockerfile" and home is not None:
        dockerfile = (home / "Dockerfile").read_text(encoding="utf-8")
        needs += [images[base] for base in bases(dockerfile) if base in images]
    return Artifact(
        name=name,
        version=version,
        kind=kind,
        source=used,
        recipe=recipe,
        wish=wanted,
        files=files,
        image=image,
        minutes=float(wish.get("minutes") or 0),
        local=bool(wish.get("local")),
        part=bool(wish.get("part")),
        folder=home,
        needs=tuple(dict.fromkeys(needs)),
    )


def closure(artifacts: Mapping[str, Artifact], roots: Iterable[str]) -> set[str]:
    """The names of the roots and of everything that they are built from."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += artifacts[name].needs
    return found


def _wanted(artifacts: Mapping[str, Artifact]) -> list[Artifact]:
    kept = closure(artifacts, [name for name, artifact in artifacts.items() if not artifact.part])
    return [artifact for name, artifact in artifacts.items() if name in kept]


def _with_key(artifact: Artifact, arch: str, needs: Mapping[str, str]) -> Artifact:
    """The artifact with the SHA-256 over all that decides what a build of it makes."""
    parts = {
        "scheme": SCHEME,
        "name": artifact.name,
        "version": artifact.version,
        "kind": artifact.kind,
        "arch": arch,
        "recipe": artifact.recipe,
        "wish": artifact.wish,
        "files": artifact.files,
        "image": artifact.image,
        "local": artifact.local,
        "folder": folder_digests(artifact.folder) if artifact.folder else {},
        "needs": needs,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return Artifact(**{**artifact.__dict__, "key": hashlib.sha256(text.encode()).hexdigest()})


def folder_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder by its relative path; executables are marked, as that is content too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        + ("+x" if path.stat().st_mode & 0o100 else "")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
