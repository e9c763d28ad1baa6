# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told of a fault, and when: what a pager (benchmarks/_pager.py) hears from a moment on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from benchmarks._faults import Fault, Stage
from benchmarks._pager import DEADMAN, RECEIVERS, Notification, Pager

FIRING, RESOLVED = "firing", "resolved"


class NotToldError(Exception):
    """Somebody who should have been told of a fault was not; the text says who and of what."""


class Watch:
    """What the receivers of one Alertmanager are told from a moment on; `prefix` stands before their names."""

    def __init__(self, pager: Pager, prefix: str = "") -> None:
        self._pager = pager
        self._prefix = prefix
        self._receivers = {f"{prefix}{name}" for name in RECEIVERS if name != DEADMAN}
        self._begin = len(pager.heard())
        self._since = time.time()

    def heard(self, status: str) -> list[Notification]:
        """All notifications of a status, but for the dead man's, and for those of alerts that began before."""
        return [
            one
            for one in self._pager.notifications(self._begin)
            if one.status == status and one.receiver in self._receivers and moment(one.since) >= self._since
        ]

    def told(self, fault: Fault, status: str) -> list[Notification]:
        """The notifications of this fault's alert."""
        return [one for one in self.heard(status) if is_of(fault, one.labels)]

    def needless(self, fault: Fault) -> list[Notification]:
        """Pages that are neither of this fault nor of what follows from it: one fault, one page.

        What was on a node that is gone needs no page of its own.
        """
        pages = [one for one in self.heard(FIRING) if one.labels.get("severity") == "critical"]
        return [
            one
            for one in pages
            if not is_of(fault, one.labels)
            and (one.name not in fault.follows or one.labels.get("node", "") == fault.labels.get("node"))
        ]

    def wait(self, fault: Fault, status: str, seconds: float) -> list[Notification]:
        """The same, as soon as each of its receivers has heard. Raises NotToldError when one has not in this time."""
        deadline = time.monotonic() + seconds
        wanted = {f"{self._prefix}{name}" for name in fault.receivers}
        found = self.told(fault, status)
        while missing := wanted - {one.receiver for one in found}:
            if time.monotonic() >= deadline:
                who = " and ".join(sorted(missing))
                raise NotToldError(f"{who} not told within {seconds:.0f} s that {fault.alert} is {status}")
            time.sleep(0.5)
            found = self.told(fault, status)
        return found


def is_of(fault: Fault, labels: Mapping[str, str]) -> bool:
    """Whether an alert with these labels tells of the fault by the name that it should."""
    return labels.get("alertname") == fault.alert and fault.labels.items() <= labels.items()


def moment(text: str) -> float:
    """Seconds since the epoch of a moment as Alertmanager writes it, whose nanoseconds Python does not read."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


@contextmanager
def pages_to(stage: Stage, pager: Pager, **options: object) -> Iterator[None]:
    """Have the platform's alerts come to the pager, with other options of monitoring; then as they were before."""
    try:
        stage.play("site", tags=["monitoring"], monitoring_webhooks=pager.webhooks, **options)
        yield
    finally:
        stage.play("site", tags=["monitoring"])
