# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus on loopback, and what it answers."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from .control_plane import find_binary

PATIENCE = 60  # seconds


class Asked:
    """A Prometheus at this port that is asked with these headers; it may still be starting."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.port, self.headers = port, headers or {}

    def number(self, query: str) -> float | None:
        """The one number that it answers with; None if it has none, or is not up."""
        found = self._get("query", query=query)
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        found = self._get("alerts") or {"alerts": []}
        return {one["labels"]["alertname"] for one in found["alerts"] if one["state"] == "firing"}

    def _get(self, what: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=dict(self.headers)), timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None


@contextmanager
def prometheus(
    folder: Path, port: int, config: Mapping[str, Any], *words: str, within: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one with this configuration and these further options, its data in `folder`/data.

    `within` is a command that becomes the one that follows it.
    """
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    command = [
        *within,
        str(find_binary("prometheus", "prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *words,
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def eventually(what: Callable[[], Any], hope: str) -> Any:
    """Ask until the answer is true, and return it; fails with the hope that did not come true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)  # it starts, scrapes, evaluates and sends
    raise AssertionError(f"not within {PATIENCE} s: {hope}")
