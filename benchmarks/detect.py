# SPDX-License-Identifier: GPL-3.0-or-later
"""How long after a fault each alert fires, and how long until somebody is told.

Needs the local platform (`make site`). Breaks it in one way after the other (benchmarks/_faults.py) and mends it again;
two arms look at each fault at the same time, by the same rules:

ours    the platform's own Prometheus and Alertmanager
usual   copies of both that look every 30 s, evaluate every minute and wait 30 s before the first notification

`<fault>_fires_seconds` counts from the beginning of the fault to the alert's `startsAt`, `<fault>_told_seconds` to the
notification at the receiver, a stand-in for a pager (benchmarks/_pager.py); `<fault>_ends_seconds` from the mending to
the word that it is over. `<fault>_notifications` should be one for each of the alert's receivers, and
`<fault>_needless_pages`, of what only follows from the fault, none. `silence_seconds` is how long the dead man's switch
lets its listener hope: the longest pause between two of its notifications.

Then what it costs: the running stack (CPU, memory, samples per second), and a Prometheus with the platform's rules
that sees the series of 10 and of 100 services (benchmarks/_cost.py).

`--healthy 30` watches a platform with people on it for so many minutes instead: every notification to anybody but the
dead man's listener is a false alarm. It ends with an error if anybody was told of what is none of their business.
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
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks._report import CHECKOUT, RESULTS, NothingToAddToError, Report, bootstrap_ratio, median

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError  # noqa: E402
from benchmarks import _cost  # noqa: E402
from benchmarks._faults import FAULTS, Fault, Stage, enter  # noqa: E402
from benchmarks._load import Load  # noqa: E402
from benchmarks._pager import DEADMAN, Pager, pager  # noqa: E402
from benchmarks._usual import PREFIX, usual  # noqa: E402
from benchmarks._watch import FIRING, RESOLVED, NotToldError, Watch, moment, pages_to  # noqa: E402
from loadtests.entrance import NoEntrance  # noqa: E402

ARMS = {"ours": "", "usual": PREFIX}
# The rival is given so much longer than the fault's own limit.
PATIENCE_SECONDS = 300
# So many services' series, for what watching them costs.
SERVICES = (10, 100)
# Between two faults, so that the one is not taken for the other.
PAUSE_SECONDS = 30


def measure(stage: Stage, pager: Pager, fault: Fault, report: Report) -> None:
    """Break it, see who is told of it, mend it, see that it is over. A fault that was cut short counts not at all."""
    watches = {arm: Watch(pager, prefix) for arm, prefix in ARMS.items()}
    found: list[tuple[str, str, float, str]] = []
    with fault.inject(stage) as began:
        for arm, watch in watches.items():
            told = watch.wait(fault, FIRING, fault.fires_within + (0 if arm == "ours" else PATIENCE_SECONDS))
            found.append((arm, "fires_seconds", min(moment(one.since) for one in told) - began, "s"))
            found.append((arm, "told_seconds", max(one.at for one in told) - began, "s"))
    mended = time.time()
    for arm, watch in watches.items():
        over = watch.wait(fault, RESOLVED, fault.ends_within + (0 if arm == "ours" else 2 * PATIENCE_SECONDS))
        needless = [one.labels for one in watch.needless(fault)]
        found.append((arm, "ends_seconds", max(one.at for one in over) - mended, "s"))
        found.append((arm, "notifications", len(watch.told(fault, FIRING)), "notifications"))
        found.append((arm, "needless_pages", len(needless), "pages"))
        for labels in needless:
            print(f"{arm}: a page that tells nobody more: {json.dumps(labels)}", file=sys.stderr)
    for arm, figure, value, unit in found:
        report.sample(arm, f"{fault.name}_{figure}", value, unit)


def healthy(pager: Pager, entrance_url: str, folder: Path, minutes: float, report: Report) -> None:
    """Let people use a platform with nothing wrong, and count who is told of what.

    Raises RuntimeError when the load ended before the time did: what nobody uses is no healthy platform.
    """
    begin = len(pager.heard())
    with Load(f"{entrance_url}/catalog/products?limit=5", 50, minutes * 60 + 60, folder / "load") as load:
        if load.ends_within(minutes * 60):
            raise RuntimeError("the load ended by itself: the platform left too many requests unanswered")
        requests = list(load.requests())
    heard = pager.notifications(begin)
    false = [one for one in heard if one.receiver != DEADMAN]
    for one in false:
        print(f"false alarm to {one.receiver}: {one.status} {json.dumps(one.labels)}", file=sys.stderr)
    hopes = [one.at for one in heard if one.receiver == DEADMAN]
    for earlier, later in zip(hopes, hopes[1:], strict=False):
        report.sample("ours", "silence_seconds", later - earlier, "s")
    report.summary["healthy_minutes"] = minutes
    report.summary["requests"] = len(requests)
    report.summary["requests_lost"] = sum(request.is_lost for request in requests)
    report.summary["false_alarms"] = len(false)


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


def needless(report: Report, faults: Sequence[Fault]) -> str:
    """What nobody should have been told, in a sentence; empty if that was nothing."""
    pages = sum(sum(report.samples("ours", f"{fault.name}_needless_pages")) for fault in faults)
    alarms = report.summary.get("false_alarms", 0)
    return f"{alarms} false alarms and {pages:g} pages that told nobody more" if alarms or pages else ""


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", default=os.environ.get("OPSFORGE_PLATFORM", "opsforge"))
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault is made, 0: only the cost")
    parser.add_argument("--only", nargs="+", choices=[fault.name for fault in FAULTS], help="these faults, no others")
    parser.add_argument("--add", action="store_true", help="to the results that there are")
    parser.add_argument("--healthy", type=float, default=0, metavar="MINUTES", help="watch a healthy platform instead")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    chosen.faults = [fault for fault in FAULTS if not chosen.only or fault.name in chosen.only]
    return chosen


def run(chosen: argparse.Namespace, report: Report) -> None:
    """Measure as the command line says. Raises NotToldError."""
    with tempfile.TemporaryDirectory() as folder:
        stage = enter(chosen.platform, Path(folder))
        if chosen.healthy:
            with pager(stage.cluster, stage.image) as heard, pages_to(stage, heard):
                healthy(heard, stage.entrance, stage.folder, chosen.healthy, report)
            return
        if chosen.rounds:
            with pager(stage.cluster, stage.image) as heard, pages_to(stage, heard), usual(stage.cluster):
                break_all(stage, heard, chosen, report)
        cost(stage, report)


def break_all(stage: Stage, pager: Pager, chosen: argparse.Namespace, report: Report) -> None:
    """Each of the faults, as often as wished."""
    for number in range(chosen.rounds):
        for fault in chosen.faults:
            print(f"round {number + 1} of {chosen.rounds}: {fault.name}", file=sys.stderr, flush=True)
            measure(stage, pager, fault, report)
            time.sleep(PAUSE_SECONDS)


def cost(stage: Stage, report: Report) -> None:
    """What the running stack takes, and what one that sees more services would."""
    _cost.running(stage, report)
    for count in SERVICES:
        print(f"cost: {count} services", file=sys.stderr, flush=True)
        _cost.of_services(stage, count, report)


def main() -> None:
    """Run the benchmark."""
    chosen = options()
    report = Report("detect_healthy" if chosen.healthy else "detect")
    stop: Callable[..., None] = lambda *_: sys.exit("detect: told to stop")  # noqa: E731
    signal.signal(signal.SIGTERM, stop)
    try:
        if chosen.add:
            report.resume(chosen.results)
        run(chosen, report)
    except (
        *(NothingToAddToError, NotToldError, NoEntrance, PlatformError, RuntimeError),
        *(subprocess.CalledProcessError, TimeoutError, FileNotFoundError),
    ) as error:
        report.skip("rest", str(error))
        sys.exit(f"detect: {error}")
    finally:
        # What was measured is kept even then: it took hours. A run that measured nothing leaves earlier results alone.
        if report.arms:
            if not chosen.healthy:
                summarize(report, FAULTS)
            report.finish(chosen.results)
    if told := needless(report, FAULTS):
        sys.exit(f"detect: {told}")


if __name__ == "__main__":
    main()
