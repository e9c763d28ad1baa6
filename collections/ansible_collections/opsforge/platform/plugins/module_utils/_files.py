# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files on a host: written from text, or downloaded and verified, each replaced in one step.

Downloads are remembered in a record beside the host's other state (path, URL, checksum, size, time), so that a second
run neither downloads nor reads them again, the way `git status` trusts its index.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound

# Opens a URL for reading; raises OSError.
Opener = Callable[[str], BinaryIO]
CHUNK = 1 << 20


@dataclass(frozen=True)
class FileWish:
    """One file: `content`, or `url` (of the file itself, or of an archive that holds it as `member`)."""

    path: str
    mode: int = 0o644
    content: str | None = None
    url: str | None = None
    checksum_url: str | None = None
    member: str | None = None

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> FileWish:
        """Read an entry of the module's list; `mode` is octal text."""
        if (entry.get("content") is None) == (entry.get("url") is None):
            raise Invalid(f"{entry['path']}: give either content or url")
        try:
            mode = int(entry.get("mode") or "0644", 8)
        except ValueError:
            raise Invalid(f"{entry['path']}: mode {entry['mode']!r} is not octal, as in '0644'") from None
        url = entry.get("url")
        checksum_url = (entry.get("checksum_url") or f"{url}.sha256") if url else None
        return cls(entry["path"], mode, entry.get("content"), url, checksum_url, entry.get("member"))


@dataclass(frozen=True)
class Step:
    """What is to be done about one file."""

    wish: FileWish
    write: bool
    before: str = ""

    @property
    def after(self) -> str:
        """The file's text after this step; for a download its URL."""
        return self.wish.content if self.wish.content is not None else f"{self.wish.url}\n"


@dataclass
class Plan:
    """The steps that are needed, none if every file is as wished, and the downloads that only the record lacks."""

    steps: list[Step] = field(default_factory=list)
    unrecorded: list[FileWish] = field(default_factory=list)

    @property
    def diff(self) -> list[dict[str, str]]:
        """One entry a file, in the form of `--diff`."""
        return [
            {
                "before_header": step.wish.path,
                "after_header": step.wish.path,
                "before": step.before,
                "after": step.after,
            }
            for step in self.steps
        ]


def plan(wishes: Iterable[FileWish], record: Mapping[str, Any], opener: Opener) -> Plan:
    """Compare the wishes with the host's files; writes nothing.

    A file that the record does not know from the wished URL is compared with the checksum published there, so that a
    change of the address alone replaces nothing.
    """
    result = Plan()
    for wish in wishes:
        path = Path(wish.path)
        exists = path.is_file()
        mode_differs = exists and path.stat().st_mode & 0o7777 != wish.mode
        if wish.content is not None:
            before = path.read_text(errors="replace") if exists else ""
            write = not exists or before != wish.content
        else:
            known = record.get(wish.path, {})
            before = f"{known.get('url', 'a file of unknown origin')}\n" if exists else ""
            write = not exists or known.get("url") != wish.url or known.get("stat") != _stamp(path)
            if write and exists and not wish.member and _sha256(path) == _published(wish, opener):
                write = False
                result.unrecorded.append(wish)
        if write or mode_differs:
            result.steps.append(Step(wish, write, before))
    return result


def apply(plan: Plan, record: dict[str, Any], opener: Opener) -> None:
    """Carry out the plan and bring the record up to date; an archive is downloaded once for all its members."""
    with tempfile.TemporaryDirectory(prefix="opsforge-") as scratch:
        archives: dict[str, Path] = {}
        for step in plan.steps:
            wish = step.wish
            path = Path(wish.path)
            if step.write:
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path, wish.mode) as temporary:
                    if wish.content is not None:
                        temporary.write_text(wish.content)
                    elif wish.member is None:
                        download(wish, temporary, opener)
                    else:
                        assert wish.url
                        if wish.url not in archives:
                            archives[wish.url] = Path(scratch, str(len(archives)))
                            download(wish, archives[wish.url], opener)
                        extract(archives[wish.url], wish, temporary)
            else:
                path.chmod(wish.mode)
            if wish.url:
                _note(record, wish)
    for wish in plan.unrecorded:
        _note(record, wish)


def _note(record: dict[str, Any], wish: FileWish) -> None:
    record[wish.path] = {"url": wish.url, "stat": _stamp(Path(wish.path))}


def download(wish: FileWish, target: Path, opener: Opener) -> None:
    """Fetch the wish's URL to `target` and compare it with the published checksum."""
    assert wish.url
    wanted = _published(wish, opener)
    digest = hashlib.sha256()
    try:
        with opener(wish.url) as source, target.open("wb") as sink:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                sink.write(chunk)
    except OSError as error:
        raise NotFound(f"{wish.url} can't be downloaded: {error}") from None
    if digest.hexdigest() != wanted:
        raise Invalid(f"{wish.url} has the checksum {digest.hexdigest()}, {wish.checksum_url} says {wanted}")


def extract(archive: Path, wish: FileWish, target: Path) -> None:
    """Copy the wish's member out of a tar archive."""
    try:
        with tarfile.open(archive) as tar:
            source = tar.extractfile(wish.member or "")
            if source is None:
                raise KeyError
            with source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
    except (KeyError, tarfile.TarError):
        raise Invalid(f"{wish.url} is no tar archive that holds the file {wish.member}") from None


def load_record(path: Path) -> dict[str, Any]:
    """Read the record of downloads; a missing or torn one is empty, and the downloads are made again."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def save_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record of downloads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, 0o644) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True))


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _published(wish: FileWish, opener: Opener) -> str:
    assert wish.checksum_url
    try:
        with opener(wish.checksum_url) as source:
            words = source.read(4096).decode(errors="replace").split()
    except OSError as error:
        raise NotFound(f"{wish.checksum_url} can't be downloaded: {error}") from None
    if not words:
        raise Invalid(f"{wish.checksum_url} is empty, a SHA-256 checksum was expected")
    return words[0]


@contextlib.contextmanager
def replacing(path: Path, mode: int) -> Iterator[Path]:
    """Give a temporary path beside `path` and move it there at the end; nothing half-written is ever seen.

    Until then it can be read by its owner alone. Raises OSError, and then leaves nothing behind.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
