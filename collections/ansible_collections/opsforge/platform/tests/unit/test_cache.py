# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._cache import Cache
from ansible_collections.opsforge.platform.plugins.module_utils._catalogue import Artifact, read
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict

HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_SH); print('held', flush=True); input()"
)


def artifact(version: str = "1.0") -> Artifact:
    wish = {"name": "tool", "version": version, "kind": "files", "files": ["tool"], "upstream": {"url": "http://x"}}
    return read([wish], source="upstream", arch="amd64", folder=Path("/"))[0]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def put(cache: Cache, made_of: Artifact, body: bytes = b"tool") -> None:
    with cache.workshop() as work:
        made = work / "made"
        (made / "files").mkdir(parents=True)
        (made / "files/tool").write_bytes(body)
        (made / "files/tool").chmod(0o700)
        cache.put(made_of, made, {"seconds": 1})


def test_an_entry_holds_files_checksums_and_facts(cache: Cache) -> None:
    put(cache, artifact())
    manifest = cache.manifest(artifact())
    assert manifest is not None
    assert manifest["seconds"] == 1
    assert manifest["key"] == artifact().key
    assert manifest["files"]["tool"]["size"] == 4
    assert (cache.files(artifact()) / "tool").stat().st_mode & 0o777 == 0o755
    assert list((cache.root / "work").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "file", "manifest", "key"])
def test_a_damaged_entry_is_none(cache: Cache, damage: str) -> None:
    put(cache, artifact())
    entry = cache.entry(artifact())
    if damage == "cut":
        (entry / "files/tool").write_bytes(b"t")
    elif damage == "file":
        (entry / "files/tool").unlink()
    elif damage == "manifest":
        (entry / "manifest.json").write_text('{"key":', encoding="utf-8")
    else:
        changed = json.loads((entry / "manifest.json").read_text(encoding="utf-8")) | {"key": "0"}
        (entry / "manifest.json").write_text(json.dumps(changed), encoding="utf-8")
    assert cache.manifest(artifact()) is None
    put(cache, artifact(), b"again")
    assert cache.manifest(artifact()) is not None


def test_the_file_tree_shows_one_entry_of_a_version(cache: Cache) -> None:
    put(cache, artifact())
    assert not cache.is_linked(artifact())
    cache.link(artifact())
    cache.link(artifact())
    assert cache.is_linked(artifact())
    assert (cache.root / "files/tool/1.0/tool").read_bytes() == b"tool"
    assert [path.name for path in (cache.root / "files/tool").iterdir()] == ["1.0"]


def test_what_a_killed_build_left_goes_with_the_next_one(cache: Cache) -> None:
    (cache.root / "work/left/made").mkdir(parents=True)
    (cache.root / "work/left/made/half").write_bytes(b"x")
    with cache.locked(0):
        assert not (cache.root / "work").exists()


def test_a_failed_build_leaves_nothing(cache: Cache) -> None:
    with pytest.raises(RuntimeError), cache.workshop() as work:
        (work / "half").write_bytes(b"x")
        raise RuntimeError
    assert list((cache.root / "work").iterdir()) == []


def test_two_runs_do_not_build_at_once(cache: Cache) -> None:
    cache.root.mkdir()
    command = [sys.executable, "-c", HOLD, str(cache.root / "lock")]
    now = [0.0]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"

        def sleep(seconds: float) -> None:
            now[0] += seconds

        with pytest.raises(Conflict, match="Another run"), cache.locked(5, sleep=sleep, clock=lambda: now[0]):
            raise AssertionError
        assert now[0] == 5
        # The kernel frees the lock of a run that dies.
        other.kill()
        other.wait()
    with cache.locked(0):
        pass
