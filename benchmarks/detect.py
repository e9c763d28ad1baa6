# SPDX-License-Identifier: GPL-3.0-or-later
"""How long after a fault each alert fires, and how long until somebody is told.

Needs the local platform (`make site`). Breaks it in one way after the other (benchmarks/_faults.py) and mends it again;
two arms look at each fault at the same time, by the same rules:

ours    the platform's own Prometheus and Alertmanager
usual   copies of both that look every 30 s, evaluate every minute and wait 30 s before the first notification

`<fault>_fires_seconds` counts from the beginning of the fault to the alert's `startsAt`, `<fault>_told_seconds` to the
notification at the receiver, a stand-in for a pager (benchmarks/_pager.py); `<fault>_ends_seconds` from the mending to
the word that it is over. `silence_seconds` is how long the dead man's switch lets its listener hope: the longest pause
between two of its notifications.

`--healthy 30` watches a platform with people on it for so many minutes instead: every notification to anybody but the
dead man's listener is a false alarm.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from benchmarks._report import CHECKOUT, Report, bootstrap_ratio, median

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils import _slots  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError  # noqa: E402
from benchmarks._faults import FAULTS, Fault, Stage  # noqa: E402
from benchmarks._load import Load  # noqa: E402
from benchmarks._pager import Notification, Pager, pager  # noqa: E402
from benchmarks._usual import PREFIX, usual  # noqa: E402
from loadtests.entrance import NoEntrance, entrance  # noqa: E402

ARMS = {"ours": "", "usual": PREFIX}
# The rival is given so much longer than the fault's own limit.
PATIENCE_SECONDS = 300
# Between two faults, so that the one is not taken for the other.
PAUSE_SECONDS = 30


class DetectError(Exception):
    """The alerts could not be measured; the text says why."""


class Watch:
    """What the receivers are told from a moment on."""

    def __init__(self, pager: Pager) -> None:
        self._pager = pager
        self._begin = len(pager.heard())

    def told(self, fault: Fault, prefix: str, status: str) -> list[Notification]:
        """The notifications of this fault's alert to one arm's receivers."""
        names = {f"{prefix}{name}" for name in fault.receivers}
        return [
            one
            for one in self._pager.notifications(self._begin)
            if one.name == fault.alert
            and one.status == status
            and one.receiver in names
            and fault.labels.items() <= one.labels.items()
        ]

    def wait(self, fault: Fault, prefix: str, status: str, seconds: float) -> list[Notification]:
        """The same, as soon as each receiver has heard. Raises DetectError when one never does."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.told(fault, prefix, status)
            if {one.receiver for one in found} == {f"{prefix}{name}" for name in fault.receivers}:
                return found
            if time.monotonic() >= deadline:
                who = " and ".join(sorted(f"{prefix}{name}" for name in fault.receivers))
                raise DetectError(f"{fault.name}: {who} not told within {seconds:.0f} s that {fault.alert} is {status}")
            time.sleep(0.5)


def moment(text: str) -> float:
    """Seconds since the epoch of a moment as Alertmanager writes it, whose nanoseconds Python does not read."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


def measure(stage: Stage, pager: Pager, fault: Fault, report: Report) -> None:
    """Break it, see who is told of it, mend it, see that it is over."""
    watch = Watch(pager)
    with fault.inject(stage) as began:
        for arm, prefix in ARMS.items():
            limit = fault.fires_within + (0 if arm == "ours" else PATIENCE_SECONDS)
            told = watch.wait(fault, prefix, "firing", limit)
            report.sample(arm, f"{fault.name}_fires_seconds", min(moment(one.since) for one in told) - began, "s")
            report.sample(arm, f"{fault.name}_told_seconds", max(one.at for one in told) - began, "s")
    mended = time.time()
    for arm, prefix in ARMS.items():
        limit = fault.ends_within + (0 if arm == "ours" else 2 * PATIENCE_SECONDS)
        over = watch.wait(fault, prefix, "resolved", limit)
        report.sample(arm, f"{fault.name}_ends_seconds", max(one.at for one in over) - mended, "s")
        report.sample(arm, f"{fault.name}_notifications", len(watch.told(fault, prefix, "firing")), "notifications")


def healthy(pager: Pager, entrance_url: str, folder: Path, minutes: float, report: Report) -> None:
    """Let people use a platform with nothing wrong, and count who is told of what."""
    begin = len(pager.heard())
    with Load(f"{entrance_url}/catalog/products?limit=5", 50, minutes * 60 + 60, folder / "load"):
        time.sleep(minutes * 60)
    heard = pager.notifications(begin)
    false = [one for one in heard if one.receiver != "deadman" and not one.receiver.startswith(PREFIX)]
    for one in false:
        print(f"false alarm to {one.receiver}: {one.status} {json.dumps(one.labels)}", file=sys.stderr)
    hopes = [one.at for one in heard if one.receiver == "deadman"]
    for earlier, later in zip(hopes, hopes[1:], strict=False):
        report.sample("ours", "silence_seconds", later - earlier, "s")
    report.summary["healthy_minutes"] = minutes
    report.summary["false_alarms"] = len(false)


@contextmanager
def pages_to(stage: Stage, pager: Pager) -> Iterator[None]:
    """Have the platform's alerts come to the pager, and then go again where they went before."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/site.yml", "--tags", "monitoring"]
    env = {**os.environ, "OPSFORGE_PLATFORM": stage.platform}

    def apply(*extra: str) -> None:
        done = subprocess.run([*command, *extra], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DetectError(f"site.yml --tags monitoring failed: {done.stdout[-2000:]}")

    apply("-e", json.dumps({"monitoring_webhooks": pager.webhooks}))
    try:
        yield
    finally:
        apply()


def summarize(report: Report, faults: Sequence[Fault]) -> None:
    """Fill in the summary from the samples."""
    ratios = []
    for fault in faults:
        ours, theirs = (report.samples(arm, f"{fault.name}_told_seconds") for arm in ARMS)
        report.summary[f"{fault.alert}_seconds"] = median(ours) if ours else None
        if ours and theirs:
            report.summary[f"{fault.alert}_ratio_vs_usual_settings"] = ratio = bootstrap_ratio(theirs, ours)[0]
            ratios.append(ratio)
    report.summary["ratio_vs_usual_settings"] = median(ratios) if ratios else None


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", default=os.environ.get("OPSFORGE_PLATFORM", "opsforge"))
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault is made")
    parser.add_argument("--only", nargs="+", choices=[fault.name for fault in FAULTS], help="these faults, no others")
    parser.add_argument("--healthy", type=float, default=0, metavar="MINUTES", help="watch a healthy platform instead")
    return parser.parse_args()


def image_of(cluster: Cluster) -> str:
    """An image that has python3 and is at every node: a service's."""
    serving = _slots.read(cluster, "apps", "auth").serving
    if serving is None:
        raise DetectError("auth has no traffic: run make site first")
    return serving.image


def run(chosen: argparse.Namespace, report: Report) -> None:
    """Measure as the command line says. Raises DetectError."""
    kubeconfig = CHECKOUT / ".state" / chosen.platform / "kubeconfig"
    cluster = connect({"kubeconfig": str(kubeconfig)})
    faults = [fault for fault in FAULTS if not chosen.only or fault.name in chosen.only]
    image = image_of(cluster)
    with tempfile.TemporaryDirectory() as folder, pager(cluster, image) as heard:
        stage = Stage(cluster, chosen.platform, f"http://{entrance(chosen.platform)}", image, Path(folder))
        with pages_to(stage, heard):
            if chosen.healthy:
                healthy(heard, stage.entrance, stage.folder, chosen.healthy, report)
                return
            with usual(cluster):
                for number in range(chosen.rounds):
                    for fault in faults:
                        print(f"round {number + 1} of {chosen.rounds}: {fault.name}", file=sys.stderr, flush=True)
                        measure(stage, heard, fault, report)
                        time.sleep(PAUSE_SECONDS)
    summarize(report, faults)


def main() -> None:
    """Run the benchmark."""
    chosen = options()
    report = Report("detect_healthy" if chosen.healthy else "detect")
    stop: Callable[..., None] = lambda *_: sys.exit("detect: told to stop")  # noqa: E731
    signal.signal(signal.SIGTERM, stop)
    try:
        run(chosen, report)
    except (DetectError, NoEntrance, PlatformError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"detect: {error}")
    report.finish()


if __name__ == "__main__":
    main()
