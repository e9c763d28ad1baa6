# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kit costs a request, what a storm of log-ins costs the others, and what a service weighs when idle.

The same endpoint runs as bare Starlette, as FastAPI with the usual middleware and packages, and with our kit (see
`_web/`): one process each, the same server, loaded to the brim by `wrk` from the other core, in turns.

`p99_ratio_in_login_storm` is the p99 of `GET /me` at a fixed rate while more log-ins come than can be hashed, over the
p99 at the same rate without them, on one auth process with a PostgreSQL of its own. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._profile import top
from benchmarks._report import CHECKOUT, Report, bootstrap_ratio
from benchmarks._rivals import python
from benchmarks._storm import storm
from benchmarks._weight import weigh

ARMS = ("bare", "idiomatic", "ours")
PATH = "/products/17"
CONNECTIONS = 32
START_SECONDS = 30


class BenchmarkError(Exception):
    """The services could not be measured; the text says why."""


@contextmanager
def serving(arm: str, log: Path, profile: Path | None = None) -> Iterator[str]:
    """Run one arm on the first core; yields the endpoint's URL."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    interpreter = python("web") if arm == "idiomatic" else Path(sys.executable)
    command = [str(interpreter), "-m", "benchmarks._web._serve", arm, str(port), *([str(profile)] if profile else [])]
    env = {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'services'}"}
    # What is logged goes where a container's log goes: into a file.
    with log.open("w") as sink:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=env, stdout=sink, stderr=subprocess.STDOUT, preexec_fn=lambda: _pin(0)
        )
    try:
        url = f"http://127.0.0.1:{port}{PATH}"
        _await(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(START_SECONDS)


def _pin(core: int) -> None:
    """Keep this process on one core, so that server and load do not push each other about."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise BenchmarkError(f"{url} did not answer: {log.read_text()[-500:]}")


def load(url: str, seconds: float) -> tuple[float, float]:
    """Ask as fast as it answers; returns requests per second and the p99 in seconds. Raises BenchmarkError."""
    command = ["wrk", "--threads=1", f"--connections={CONNECTIONS}", f"--duration={seconds:.0f}s", "--latency", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=lambda: _pin(1))
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise BenchmarkError(done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    slow = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    if not rate or not slow:
        raise BenchmarkError(f"wrk said: {done.stdout}")
    return float(rate[1]), float(slow[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[slow[2]]


def measure(report: Report, folder: Path, *, rounds: int, seconds: float) -> None:
    """Let the arms take turns."""
    for number in range(rounds):
        for arm in ARMS:
            with serving(arm, folder / f"{arm}.log") as url:
                load(url, 1)  # warm
                rate, slow = load(url, seconds)
            report.sample(arm, "requests_per_second", rate, "1/s")
            report.sample(arm, "p99_seconds", slow, "s")
            print(f"{number + 1}/{rounds} {arm}: {rate:.0f}/s", file=sys.stderr, flush=True)
    # A ratio of rates: ours over theirs, so that above 1 ours is faster.
    ours = report.samples("ours", "requests_per_second")
    for key, rival in (("ratio_vs_starlette", "bare"), ("ratio_vs_idiomatic", "idiomatic")):
        report.summary[key] = bootstrap_ratio(ours, report.samples(rival, "requests_per_second"))[0]
    with serving("ours", folder / "ours.log", folder / "profile") as url:
        load(url, seconds)
    report.profiles["ours"] = top(folder / "profile")


def main() -> int:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(prog="make bench NAME=services", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="turns of each arm (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of load in each turn (default: %(default)s)")
    parser.add_argument("--storm-seconds", type=float, default=20, help="of log-ins (default: %(default)s)")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("This needs the program wrk: apt-get install --no-install-recommends wrk", file=sys.stderr)
        return 2
    report = Report("services")
    try:
        with tempfile.TemporaryDirectory(prefix="opsforge-bench-") as temporary:
            measure(report, Path(temporary), rounds=options.rounds, seconds=options.seconds)
            storm(report, Path(temporary), seconds=options.storm_seconds)
            weigh(report)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    report.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
