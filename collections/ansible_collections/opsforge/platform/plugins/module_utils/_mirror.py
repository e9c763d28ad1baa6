# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror: which artifacts are at hand, and making one be at hand."""

from __future__ import annotations

import os
import platform as machine
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._cache import Cache
from ansible_collections.opsforge.platform.plugins.module_utils._catalogue import Artifact, closure, read
from ansible_collections.opsforge.platform.plugins.module_utils._download import Web
from ansible_collections.opsforge.platform.plugins.module_utils._engine import Container, Engine, is_port_free
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Invalid,
    NotFound,
    PlatformError,
)
from ansible_collections.opsforge.platform.plugins.module_utils._host import ARCHITECTURES
from ansible_collections.opsforge.platform.plugins.module_utils._recipes import RECIPES, Job, Settings, Shell
from ansible_collections.opsforge.platform.plugins.module_utils._recipes import refusal as build_refusal
from ansible_collections.opsforge.platform.plugins.module_utils._registry import Reference, Registry, Storage

# At hand, in the cache but not shown (another checkout shows its own), or to be made.
PUBLISHED, CACHED, MISSING = "published", "cached", "missing"
LISTEN_ADDRESS = "127.0.0.1"
# What the containers mount of the cache.
FOLDERS = ("registry", "files", "store")

# What mirror_info and mirror_artifact must agree on.
MIRROR_ARGS: dict[str, dict[str, Any]] = {
    "catalogue": {"type": "list", "elements": "dict", "required": True},
    "folder": {"type": "path", "required": True},
    "cache": {"type": "path", "required": True},
    "source": {"type": "str", "choices": ["build", "upstream"], "default": "build"},
    "registry": {"type": "str", "required": True},
    "docker": {"type": "str", "default": "docker"},
}


@dataclass(frozen=True)
class Mirror:
    """A catalogue, the cache that holds what it names, and the engine for what must be there before a registry."""

    catalogue: Mapping[str, Artifact]
    cache: Cache
    settings: Settings
    engine: Engine

    @classmethod
    def open(cls, params: Mapping[str, Any]) -> Mirror:
        """From a module's parameters; Invalid if the catalogue is."""
        arch = ARCHITECTURES.get(machine.machine())
        if arch is None:
            raise Invalid(f"Nothing in the catalogue is made for a machine of the kind {machine.machine()}.")
        artifacts = read(params["catalogue"], source=params["source"], arch=arch, folder=Path(params["folder"]))
        settings = Settings(
            arch=arch,
            registry=params["registry"],
            docker=params["docker"],
            network=params.get("network") or "",
            ca_bundle=params.get("ca_bundle") or "",
            go_cache=params.get("go_cache") or "",
            debian_mirror=params.get("debian_mirror") or "",
        )
        by_name = {artifact.name: artifact for artifact in artifacts}
        return cls(by_name, Cache(Path(params["cache"])), settings, Engine(params["docker"]))

    def state(self, artifact: Artifact) -> str:
        """Whether the artifact is published, cached or missing; asks the disk, not the registry."""
        manifest = self.cache.manifest(artifact)
        if manifest is None:
            return MISSING
        if artifact.kind == "files":
            return PUBLISHED if self.cache.is_linked(artifact) else CACHED
        if artifact.local:
            return PUBLISHED if self.engine.image_id(artifact.image) == manifest["image"] else CACHED
        image, storage = self._stored(artifact), Storage(self.cache.root / "registry")
        if storage.digest(image) == manifest["image"]:
            return PUBLISHED
        return CACHED if storage.holds(image.repository, manifest["image"]) else MISSING

    def make(self, name: str, *, lock_timeout_seconds: float) -> tuple[bool, dict[str, Any]]:
        """Publish one artifact, building it if need be: whether that changed anything, and its manifest."""
        artifact = self.artifact(name)
        with self.cache.locked(lock_timeout_seconds):
            found = self.state(artifact)
            if found == MISSING:
                self._build(artifact)
            if self.state(artifact) == CACHED:
                self._publish(artifact)
            if self.state(artifact) != PUBLISHED:
                raise Conflict(
                    f"{artifact.title} was published and is not in {self.cache.root}: the registry at "
                    f"{self.settings.registry} keeps its images elsewhere. Is it another platform's?"
                )
            return found != PUBLISHED, self.cache.manifest(artifact) or {}

    def artifact(self, name: str) -> Artifact:
        """The artifact of that name; Invalid if the catalogue has none."""
        if name not in self.catalogue:
            raise Invalid(f"The catalogue has no {name}; it has {', '.join(sorted(self.catalogue))}.")
        return self.catalogue[name]

    def _build(self, artifact: Artifact) -> None:
        for need in artifact.needs:
            if self.state(self.catalogue[need]) != PUBLISHED:
                raise NotFound(f"{artifact.title} is built from {need}, which is not in the cache yet.")
        start = time.monotonic()
        shell = Shell(artifact.title, self.cache.log(artifact))
        web = Web(self.settings.ca_bundle if Path(self.settings.ca_bundle).is_file() else None)
        with self.cache.workshop() as work:
            made = work / "made"
            (made / "files").mkdir(parents=True)
            job = Job(artifact, self.catalogue, work, made / "files", self.cache, self.settings, shell, web)
            try:
                facts = RECIPES[artifact.recipe](job)
            except OSError as error:
                raise PlatformError(f"{artifact.title} could not be made: {error}.") from None
            for name in artifact.files:
                if not (job.out / name).is_file():
                    raise PlatformError(f"{artifact.title} did not give the file {name}; its log is {shell.log}.")
            for path in job.out.iterdir():
                if path.name not in artifact.files:
                    path.unlink()
            self.cache.put(artifact, made, {**facts, "seconds": round(time.monotonic() - start, 1)})

    def _publish(self, artifact: Artifact) -> None:
        if artifact.kind == "files":
            self.cache.link(artifact)
        elif artifact.local:
            shell = Shell(artifact.title, self.cache.log(artifact))
            shell.run(self.settings.docker, "load", "--input", self.cache.entry(artifact) / "image.tar")
        else:
            image = self._stored(artifact)
            registry = Registry(image.host, Web())
            manifest = self.cache.manifest(artifact) or {}
            registry.push_manifest(
                image.repository, image.version, registry.manifest(image.repository, manifest["image"])
            )

    def _stored(self, artifact: Artifact) -> Reference:
        return Reference.parse(f"{self.settings.registry}/{artifact.image}")


def survey(mirror: Mirror) -> dict[str, Any]:
    """The state of every artifact; and the work ahead, split where the registry must run to go on.

    Raises PlatformError if this machine lacks what a build needs.
    """
    states = {name: mirror.state(artifact) for name, artifact in mirror.catalogue.items()}
    ahead = [artifact for name, artifact in mirror.catalogue.items() if states[name] != PUBLISHED]
    refused = build_refusal([artifact for artifact in ahead if states[artifact.name] == MISSING], mirror.settings)
    if refused:
        raise PlatformError(refused)
    early = closure(mirror.catalogue, [artifact.name for artifact in mirror.catalogue.values() if artifact.local])
    ahead.sort(key=lambda artifact: artifact.name not in early)
    steps = [
        {
            "name": artifact.name,
            "early": artifact.name in early,
            "title": f"{artifact.title} ({number} of {len(ahead)}{_expectation(artifact, states[artifact.name])})",
        }
        for number, artifact in enumerate(ahead, 1)
    ]
    return {
        "artifacts": [
            {
                "name": artifact.name,
                "version": artifact.version,
                "kind": artifact.kind,
                "source": artifact.source,
                "image": artifact.image,
                "files": list(artifact.files),
                "key": artifact.key,
                "state": states[artifact.name],
            }
            for artifact in mirror.catalogue.values()
        ],
        "early": [step for step in steps if step["early"]],
        "rest": [step for step in steps if not step["early"]],
        "recipes": sorted({artifact.recipe for artifact in ahead if states[artifact.name] == MISSING}),
        "folders": [name for name in FOLDERS if not (mirror.cache.root / name).is_dir()],
        "owner": f"{os.getuid()}:{os.getgid()}",
    }


def refusal(containers: Iterable[Container], *, platform: str, ports: Mapping[str, int]) -> str:
    """Why the mirror's containers (name: port) can't run here, in one sentence; empty if they can."""
    known = {container.name: container for container in containers}
    for name, port in ports.items():
        container = known.get(name)
        if container is not None and container.platform != platform:
            return f"A container {name} exists that is not of the platform {platform}: rename or remove it."
        if (container is None or not container.running) and not is_port_free(LISTEN_ADDRESS, port):
            return f"Port {port} on {LISTEN_ADDRESS} is in use by another program, and {name} is to listen there."
    return ""


def is_serving(containers: Iterable[Container], *, names: Iterable[str], config: str) -> bool:
    """Whether each named container runs as it was last wished to."""
    running = {container.name: container.config for container in containers if container.running}
    return all(running.get(name) == config for name in names)


def _expectation(artifact: Artifact, state: str) -> str:
    if state == CACHED or artifact.source == "upstream" or artifact.minutes < 1:
        return ""
    return f", about {artifact.minutes:.0f} min"
