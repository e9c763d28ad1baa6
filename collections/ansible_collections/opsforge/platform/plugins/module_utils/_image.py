# SPDX-License-Identifier: GPL-3.0-or-later
"""A service's image is in the registry: taken as it is, or built from the checkout once for each content of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    NotFound,
    NotReady,
    PlatformError,
    Unreachable,
)
from ansible_collections.opsforge.platform.plugins.module_utils._registry import Manifest, Reference, Registry

LAST_LINES = 12
# Names what an image was made from. One without it was made by others, or by hand, and is taken as it is.
SOURCES_LABEL = "opsforge.dev/sources"
_LEFT_OUT = ("tests", "__pycache__", ".pytest_cache")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@dataclass(frozen=True)
class Recipe:
    """What an image is made from: paths below `context`, and files that are laid at its root under another name."""

    context: Path
    include: Sequence[str]
    dockerfile: str
    args: Mapping[str, str] = field(default_factory=dict)
    # Name at the context's root: file on this machine. Those that do not exist are left out.
    extras: Mapping[str, Path] = field(default_factory=dict)
    # Stage to stop at.
    target: str = ""

    def missing(self) -> list[str]:
        """The paths that are not there."""
        return [path for path in (*self.include, self.dockerfile) if not (self.context / path).exists()]

    def pack(self, sink: IO[bytes], *, extras: bool = True) -> None:
        """Write the build context as a tar archive that depends on content only, so that the layer cache hits."""
        with tarfile.open(fileobj=sink, mode="w") as archive:
            for path in dict.fromkeys([*self.include, self.dockerfile]):
                archive.add(self.context / path, path, filter=_plain)
            for name, file in self.extras.items() if extras else ():
                if file.is_file():
                    archive.add(file.resolve(), name, filter=_plain)

    def sources(self, registry: str) -> str:
        """What the image is made from, in short: files and arguments, wherever the registry is, without the extras."""
        with tempfile.TemporaryFile() as context:
            self.pack(context, extras=False)
            context.seek(0)
            seen = hashlib.file_digest(context, "sha256")
        args = {name: value.removeprefix(f"{registry}/") for name, value in self.args.items()}
        seen.update(json.dumps([self.dockerfile, args, self.target], sort_keys=True).encode())
        return seen.hexdigest()[:16]


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if Path(member.name).name in _LEFT_OUT:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def place(image: str, registry: str) -> Reference:
    """Where the image is pushed: in a mirror the repository keeps the image's whole name."""
    return Reference.parse(f"{registry}/{image}" if registry else image)


def find(registry: Registry, where: Reference, *, check_mode: bool = False) -> Manifest | None:
    """What the registry holds by that name. In check mode an unreachable one is a registry that is still to be made."""
    try:
        return registry.manifest(where.repository, where.version)
    except NotFound:
        return None
    except Unreachable:
        if not check_mode:
            raise
        return None


def is_stale(registry: Registry, where: Reference, found: Manifest, recipe: Recipe) -> bool:
    """Whether the image was made from other sources than there are now.

    What runs is named by its digest and does not change when the tag moves on. An image that does not say what it was
    made from is never stale, nor is one whose sources are not at hand.
    """
    if recipe.missing() or "config" not in found.content:
        return False
    labels = registry.configuration(where.repository, found).get("config", {}).get("Labels") or {}
    return labels.get(SOURCES_LABEL, "") not in ("", recipe.sources(where.host))


def build(where: Reference, recipe: Recipe, *, docker: str = "docker", run: Run = subprocess.run) -> None:
    """Build the image and push it. Raises NotFound without sources, NotReady with the builder's last lines."""
    tag = f"{where.host}/{where.repository}:{where.version}"
    missing = recipe.missing()
    if missing:
        raise NotFound(
            f"the image {where.repository}:{where.version} is not in the registry {where.host}, and can't be built:"
            f" {recipe.context} has no {', '.join(missing)}"
        )
    args = [*(f"{key}={value}" for key, value in recipe.args.items()), *(key for key in _PROXIES if key in os.environ)]
    command = [docker, "build", "--force-rm", "--tag", tag, "--file", recipe.dockerfile]
    command += ["--label", f"{SOURCES_LABEL}={recipe.sources(where.host)}"]
    if recipe.target:
        command += ["--target", recipe.target]
    for arg in args:
        command += ["--build-arg", arg]
    with tempfile.TemporaryFile() as context:
        recipe.pack(context)
        context.seek(0)
        _run(run, [*command, "-"], f"build {tag}", stdin=context)
    _run(run, [docker, "push", tag], f"push {tag}")
    # The registry has it now; a second copy in the engine would only take room.
    _run(run, [docker, "image", "rm", tag], f"tidy up after {tag}")


def _run(run: Run, command: list[str], doing: str, stdin: Any = subprocess.DEVNULL) -> None:
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}  # the classic builder is the one that every engine has
    try:
        done = run(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=env)
    except FileNotFoundError:
        raise PlatformError(f"to {doing} takes the command {command[0]}, which is not installed") from None
    if done.returncode:
        end = "\n".join(done.stdout.decode(errors="replace").strip().splitlines()[-LAST_LINES:])
        raise NotReady(f"could not {doing}; the end of its output is:\n{end}")
