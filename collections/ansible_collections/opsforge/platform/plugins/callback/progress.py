# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a run is, what took the time, and whether anything changed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: aggregate
short_description: Shows how far a run is and where its time went
description:
  - Before each play it prints which play of how many it is, and the time so far.
  - At the end it prints the slowest tasks, and says so when nothing was changed.
  - Writes the duration of every task as JSON, so that two runs can be compared.
author: [OpsForge (@opsforge)]
options:
  slowest:
    description: How many of the slowest tasks to print; V(0) prints none.
    type: int
    default: 5
    env: [{name: OPSFORGE_PROGRESS_SLOWEST}]
    ini: [{section: callback_progress, key: slowest}]
  log:
    description: The file that receives the durations as JSON; empty writes none.
    type: str
    default: ""
    env: [{name: OPSFORGE_PROGRESS_LOG}]
    ini: [{section: callback_progress, key: log}]
"""

import json
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase


def human(seconds: float) -> str:
    """A duration as people say it: `4.2 s`, `3 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


class CallbackModule(CallbackBase):
    """Counts plays, times tasks, adds up changes."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "opsforge.platform.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()
        self._plays = 0
        self._play = ""
        self._seen = 0
        self._tasks: list[dict[str, Any]] = []
        self._task_started = self._started

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._plays = len(playbook.get_plays())

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._finish_task()
        self._seen += 1
        self._play = play.get_name()
        if self._plays > 1:
            far = f"[{self._seen}/{self._plays}] {self._play} ({human(time.monotonic() - self._started)} so far)"
            self._display.display(f"\n{far}", color="bright blue")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._finish_task()
        self._tasks.append({"play": self._play, "task": task.get_name()})
        self._task_started = time.monotonic()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def _finish_task(self) -> None:
        if self._tasks and "seconds" not in self._tasks[-1]:
            self._tasks[-1]["seconds"] = round(time.monotonic() - self._task_started, 3)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._finish_task()
        total = time.monotonic() - self._started
        summary = [stats.summarize(host) for host in stats.processed]
        changed = sum(host["changed"] for host in summary)
        failed = sum(host["failures"] + host["unreachable"] for host in summary)

        slowest = sorted(self._tasks, key=lambda task: -task["seconds"])[: self.get_option("slowest")]
        for task in slowest:
            self._display.display(f"{task['seconds']:8.1f} s  {task['task']}")
        verdict = "failed" if failed else f"{changed} changed" if changed else "nothing changed"
        self._display.display(f"Done in {human(total)}: {verdict}.")

        if log := self.get_option("log"):
            report = {"seconds": round(total, 3), "changed": changed, "failed": failed, "tasks": self._tasks}
            Path(log).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
