# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files: what is written, what is downloaded, and what is left alone."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _files
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotFound

PROGRAM = b"\x7fELF program"


class Web:
    """Serves bytes by URL and remembers what was asked for."""

    def __init__(self, **pages: bytes) -> None:
        self.pages = pages
        self.asked: list[str] = []

    def __call__(self, url: str) -> BinaryIO:
        self.asked.append(url)
        if url not in self.pages:
            raise OSError("404")
        return io.BytesIO(self.pages[url])

    @classmethod
    def of(cls, url: str, body: bytes) -> Web:
        """Serve one body and its checksum, as `sha256sum` writes it."""
        return cls(**{url: body, f"{url}.sha256": f"{hashlib.sha256(body).hexdigest()}  name\n".encode()})


def converge(entries: list[dict[str, Any]], record: dict[str, Any], web: Web) -> _files.Plan:
    plan = _files.plan([_files.FileWish.parse(entry) for entry in entries], record, web)
    _files.apply(plan, record, web)
    return plan


def test_content_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config"
    entries = [{"path": str(path), "content": "a = 1\n", "mode": "0600"}]
    assert converge(entries, {}, Web()).diff == [
        {"before_header": str(path), "after_header": str(path), "before": "", "after": "a = 1\n"}
    ]
    assert path.read_text() == "a = 1\n"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert not converge(entries, {}, Web()).steps


def test_plan_writes_nothing(tmp_path: Path) -> None:
    wish = _files.FileWish.parse({"path": str(tmp_path / "x"), "content": "text"})
    assert _files.plan([wish], {}, Web()).steps
    assert not list(tmp_path.iterdir())


def test_mode_alone_is_corrected(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("a")
    path.chmod(0o666)
    converge([{"path": str(path), "content": "a"}], {}, Web())
    assert path.stat().st_mode & 0o7777 == 0o644


def test_download_is_made_once(tmp_path: Path) -> None:
    path, web, record = tmp_path / "program", Web.of("http://mirror/program", PROGRAM), dict[str, Any]()
    entries = [{"path": str(path), "url": "http://mirror/program", "mode": "0755"}]
    converge(entries, record, web)
    assert path.read_bytes() == PROGRAM
    web.asked.clear()
    assert not converge(entries, record, web).steps
    assert not web.asked


def test_changed_file_is_downloaded_again(tmp_path: Path) -> None:
    path, web, record = tmp_path / "program", Web.of("http://mirror/program", PROGRAM), dict[str, Any]()
    entries = [{"path": str(path), "url": "http://mirror/program"}]
    converge(entries, record, web)
    path.write_bytes(b"tampered")
    assert converge(entries, record, web).steps
    assert path.read_bytes() == PROGRAM


def test_other_address_of_the_same_file_replaces_nothing(tmp_path: Path) -> None:
    path, record = tmp_path / "program", dict[str, Any]()
    converge([{"path": str(path), "url": "http://old/program"}], record, Web.of("http://old/program", PROGRAM))
    before = path.stat().st_ino
    moved = [{"path": str(path), "url": "http://new/program"}]
    assert not converge(moved, record, Web.of("http://new/program", PROGRAM)).steps
    assert path.stat().st_ino == before
    quiet = Web()
    assert not converge(moved, record, quiet).steps
    assert not quiet.asked


def test_wrong_checksum_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"old")
    web = Web(**{"http://mirror/program": PROGRAM, "http://mirror/program.sha256": b"0" * 64})
    with pytest.raises(Invalid, match="has the checksum"):
        converge([{"path": str(path), "url": "http://mirror/program"}], {}, web)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_download_says_where(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="http://mirror/program.sha256 can't be downloaded: 404"):
        converge([{"path": str(tmp_path / "x"), "url": "http://mirror/program"}], {}, Web())


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def test_archive_is_downloaded_once_for_its_members(tmp_path: Path) -> None:
    web = Web.of("http://up/a.tar.gz", archive(**{"bin/one": b"1", "bin/two": b"2"}))
    entries = [
        {"path": str(tmp_path / name), "url": "http://up/a.tar.gz", "member": f"bin/{name}"} for name in ("one", "two")
    ]
    converge(entries, {}, web)
    assert [(tmp_path / name).read_bytes() for name in ("one", "two")] == [b"1", b"2"]
    assert web.asked.count("http://up/a.tar.gz") == 1


def test_missing_member(tmp_path: Path) -> None:
    web = Web.of("http://up/a.tar.gz", archive(one=b"1"))
    with pytest.raises(Invalid, match="holds the file two"):
        converge([{"path": str(tmp_path / "two"), "url": "http://up/a.tar.gz", "member": "two"}], {}, web)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "/x"}, "give either content or url"),
        ({"path": "/x", "content": "", "url": "http://x"}, "give either content or url"),
        ({"path": "/x", "content": "", "mode": "rw"}, "is not octal"),
    ],
)
def test_wrong_wishes(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        _files.FileWish.parse(entry)


def test_record_survives(tmp_path: Path) -> None:
    path = tmp_path / "state" / "files.json"
    assert _files.load_record(path) == {}
    _files.save_record(path, {"/x": {"url": "u", "stat": [1, 2]}})
    assert _files.load_record(path) == {"/x": {"url": "u", "stat": [1, 2]}}
    path.write_text("{torn")
    assert _files.load_record(path) == {}
