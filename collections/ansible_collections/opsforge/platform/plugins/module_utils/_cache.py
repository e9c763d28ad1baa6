# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of artifacts on disk, addressed by the key of what each was made from.

    store/<name>/<key>/manifest.json   what was made: checksums, image digest, seconds
    store/<name>/<key>/files/          the files of a files artifact, or image.tar of a local image
    files/<name>/<version>             link to such a folder: the file tree as nodes see it
    registry/                          the registry's own storage
    logs/ work/ lock                   of the builds

An entry appears by one rename when it is complete; what a killed build left in work/ goes with the next build.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._catalogue import Artifact
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict

MANIFEST = "manifest.json"
CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


class Cache:
    """One cache folder; several checkouts of one machine may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entry(self, artifact: Artifact) -> Path:
        """Where the artifact's entry stands, or will stand."""
        return self.root / "store" / artifact.name / artifact.key[:16]

    def files(self, artifact: Artifact) -> Path:
        """The folder with the artifact's files."""
        return self.entry(artifact) / "files"

    def log(self, artifact: Artifact) -> Path:
        """Where the output of the artifact's build goes."""
        return self.root / "logs" / f"{artifact.name}-{artifact.version}.log"

    def manifest(self, artifact: Artifact) -> dict[str, Any] | None:
        """What the entry holds; None if there is none, or if a file of it was lost or cut."""
        try:
            found = json.loads((self.entry(artifact) / MANIFEST).read_text(encoding="utf-8"))
            complete = found["key"] == artifact.key and all(
                (self.files(artifact) / name).stat().st_size == facts["size"] for name, facts in found["files"].items()
            )
        except (OSError, ValueError, KeyError):
            return None
        return found if complete else None

    def is_linked(self, artifact: Artifact) -> bool:
        """Whether the file tree shows this entry under the artifact's name and version."""
        link = self._link(artifact)
        return link.is_symlink() and os.readlink(link) == self._link_text(artifact)

    def link(self, artifact: Artifact) -> None:
        """Let the file tree show this entry, in one step."""
        link = self._link(artifact)
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self._link_text(artifact))
        fresh.replace(link)

    def put(self, artifact: Artifact, made: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Take the folder `made` in as the artifact's entry and return its manifest.

        Beside every file stands its checksum as <file>.sha256, the way upstreams publish it.
        """
        files = {}
        (made / "files").mkdir(exist_ok=True)
        for path in sorted((made / "files").iterdir()):
            digest = sha256_of(path)
            files[path.name] = {"sha256": digest, "size": path.stat().st_size}
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        manifest = {
            "name": artifact.name,
            "version": artifact.version,
            "key": artifact.key,
            "source": artifact.source,
            "files": files,
            **facts,
        }
        (made / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        made.chmod(0o755)
        (made / "files").chmod(0o755)
        target = self.entry(artifact)
        target.parent.mkdir(parents=True, exist_ok=True)
        # What stands there is incomplete, or this build would not have run.
        shutil.rmtree(target, ignore_errors=True)
        made.replace(target)
        return manifest

    @contextlib.contextmanager
    def workshop(self) -> Iterator[Path]:
        """A fresh folder on the cache's file system, gone at the end unless it was taken in."""
        base = self.root / "work"
        base.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=base))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    @contextlib.contextmanager
    def locked(
        self,
        timeout_seconds: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[None]:
        """Hold the cache against other runs; the kernel gives it back when a run dies.

        Raises Conflict if another run holds it for longer than the timeout.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        end = clock() + timeout_seconds
        with (self.root / "lock").open("w", encoding="utf-8") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if clock() >= end:
                        raise Conflict(
                            f"Another run has been building into {self.root} for {timeout_seconds:.0f} s; "
                            "wait for it, or stop it."
                        ) from None
                    sleep(1)
            # Nobody else builds now, so whatever lies here was left by a run that died.
            shutil.rmtree(self.root / "work", ignore_errors=True)
            yield

    def _link(self, artifact: Artifact) -> Path:
        return self.root / "files" / artifact.name / artifact.version

    def _link_text(self, artifact: Artifact) -> str:
        # Relative, so that it holds inside the file server's container too.
        return f"../../store/{artifact.name}/{artifact.key[:16]}/files"
