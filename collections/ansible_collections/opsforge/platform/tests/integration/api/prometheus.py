# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus on loopback, and what it answers."""

from __future__ import annotations

import json
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from .control_plane import find_binary, run_tool


def promtool(*words: str | Path) -> str:
    """Run promtool; fails with its words if it does."""
    return run_tool("prometheus", "promtool", *words)


def play(rules: Sequence[Path], series: Mapping[str, str], *, step: str = "1m", **checks: Any) -> None:
    """Let promtool play series, a value for each step, by rule files, and check what it then finds."""
    given = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": step, "input_series": given, **checks}
    content = {"rule_files": [str(path) for path in rules], "evaluation_interval": step, "tests": [test]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.yml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        promtool("test", "rules", path)


class Asked:
    """A Prometheus at this port that is asked with these headers; it may still be starting."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.port, self.headers = port, headers or {}

    def number(self, query: str) -> float | None:
        """The one number that it answers with; None if it has none, or is not up."""
        found = self._get("query", query=query)
        return float(found["result"][0]["value"][1]) if found and len(found["result"]) == 1 else None

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


def launch(
    folder: Path, port: int, *words: str, host: str = "127.0.0.1", within: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start one on the `prometheus.yml` of a folder, which has its data and its log too, with these further options.

    `within` is a command that becomes the one that follows it.
    """
    command = [
        *within,
        str(find_binary("prometheus", "prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={host}:{port}",
        *words,
    ]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


@contextmanager
def prometheus(
    folder: Path, port: int, config: Mapping[str, Any], *words: str, within: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Have one run with this configuration; so launch()."""
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    process = launch(folder, port, *words, within=within)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
