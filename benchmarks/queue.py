# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs per second, and jobs lost or done twice when workers are killed: our queue against arq, rq and dramatiq.

One worker process for each arm, one local Redis for all, arms in turns. The job adds one to a number:

ours              our queue in Redis alone: does what the rivals do, and is what the ratios compare
ours_full         the jobs service: the row claimed and settled in PostgreSQL (synced commits), the effect with it
taskiq            the library that ours is built on, as it comes
arq, arq_tuned    as its documentation shows it (it polls twice a second); polling 50 times as often, on uvloop
rq, rq_tuned      its Worker, which forks for each job; its SimpleWorker, which does not
dramatiq          one process with its eight threads

A queue is filled first, and timed from the first job gone to the last; starting a worker is not part of it. A ratio is
with the best settings that we know of the rival; `ratio_vs_<rival>_defaults` with those it comes with.

Then workers are killed with -9 in mid-job. Every job raises a counter of its own: in the rivals' arms by HINCRBY in
Redis, in ours by the service's `tally` jobs in PostgreSQL. `lost` jobs never counted, within a minute after the last
kill and with time-outs for dead workers set to seconds; `doubled` ones counted more than once. Rivals promise the job,
not its effect: that a job may run twice is in their documentation, and left to the application.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from benchmarks import _profile, _rivals, _servers
from benchmarks._report import CHECKOUT, Report, bootstrap_ratio, median

sys.path.insert(0, str(CHECKOUT / "services"))

from kit.migrations import migrate  # noqa: E402

LIMIT_SECONDS = 90.0
"""No filling, no sample and no end of a kill run takes longer."""
SETTLE_SECONDS = 60.0
ARMS = Path(__file__).parent / "_queue"
SAMPLES = {
    "ours": 30_000,
    "ours_full": 10_000,
    "taskiq": 4_000,
    "arq": 500,
    "arq_tuned": 4_000,
    "rq": 60,
    "rq_tuned": 600,
    "dramatiq": 4_000,
}
"""Jobs in one sample: some seconds of work for each arm."""
PAGES = {"ours_full": 4_000, "arq": 500, "rq": 100, "dramatiq": 500}
"""Jobs that wait at least when a worker is started to be killed: more than it does by then."""
SERVICE_WORKER = ("-m", "jobs", "worker")
STRONGEST = {"arq": "arq_tuned", "rq": "rq_tuned", "dramatiq": "dramatiq"}


class BenchmarkError(Exception):
    """The queues could not be measured; the text says why."""


@dataclass
class Stores:
    """The servers that all arms use."""

    redis_url: str
    postgresql_url: str
    client: redis.Redis = field(init=False)

    def __post_init__(self) -> None:
        self.client = redis.Redis.from_url(f"{self.redis_url}/0")

    def empty(self) -> None:
        """Forget every job."""
        self.client.flushall()
        with psycopg.connect(self.postgresql_url, autocommit=True) as connection:
            connection.execute("TRUNCATE jobs, tallies, workers")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with psycopg.connect(self.postgresql_url, autocommit=True) as connection:
            return connection.execute(query).fetchall()


@dataclass(frozen=True)
class Arm:
    """One way to do jobs."""

    name: str
    python: str
    fill: tuple[str, ...]
    work: tuple[str, ...]
    backlog: Callable[[redis.Redis], int]
    """How many jobs are not done."""
    environment: dict[str, str]

    def add(self, job: str, first: int, last: int) -> None:
        """Add the jobs with the numbers from `first` up to `last`."""
        command = [self.python, *self.fill, job, str(first), str(last)]
        subprocess.run(command, env=self.environment, cwd=ARMS, check=True, timeout=LIMIT_SECONDS)

    def start(self, work: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a worker, as the head of a process group."""
        command = [self.python, *(work or self.work)]
        return subprocess.Popen(
            command,
            env=self.environment,
            cwd=ARMS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def kill(worker: subprocess.Popen[bytes]) -> None:
    """Kill a worker and all its processes with -9."""
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _waiting_in_stream(stream: str) -> Callable[[redis.Redis], int]:
    return lambda client: int(client.xlen(stream))


def _waiting_in_taskiq(client: redis.Redis) -> int:
    # The library never deletes an entry: what is left is what was not read, and what was read and not acknowledged.
    groups: Any = client.xinfo_groups("taskiq")
    return int(groups[0]["pending"]) + int(groups[0]["lag"]) if groups else int(client.xlen("taskiq"))


def arms(stores: Stores) -> dict[str, Arm]:
    """Every arm."""
    ours, rivals = sys.executable, str(_rivals.python("queue"))
    dramatiq = str(Path(rivals).with_name("dramatiq"))
    plain = {
        "PATH": os.environ["PATH"],
        "QUEUE_REDIS": f"{stores.redis_url}/0",
        "QUEUE_POSTGRESQL": stores.postgresql_url,
        "PYTHONPATH": str(ARMS),
    }
    service = plain | {
        "PYTHONPATH": str(CHECKOUT / "services"),
        "OPSFORGE_REDIS_URL": f"{stores.redis_url}/0",
        "OPSFORGE_DATABASE_URL": stores.postgresql_url,
        "OPSFORGE_HOST": "127.0.0.1",
        "OPSFORGE_PORT": "0",
        "OPSFORGE_MANAGEMENT_PORT": "0",
        "OPSFORGE_LOG_LEVEL": "error",
        "OPSFORGE_VISIBILITY_SECONDS": "2",
        "OPSFORGE_LOSSES": "1000",
    }

    def in_dramatiq(client: redis.Redis) -> int:
        return int(client.hlen("dramatiq:default.msgs"))

    def in_arq(client: redis.Redis) -> int:
        return int(client.zcard("arq:queue"))

    def in_rq(client: redis.Redis) -> int:
        return int(client.llen("rq:queue:default")) + int(client.zcard("rq:wip:default"))

    found = [
        Arm("ours", ours, ("ours.py", "fill"), ("ours.py", "work"), _waiting_in_stream("jobs:bench"), service),
        Arm(
            "ours_full",
            ours,
            ("ours.py", "fill_full"),
            ("-m", "jobs", "worker"),
            _waiting_in_stream("jobs:io"),
            service,
        ),
        Arm("taskiq", ours, ("taskiq_jobs.py", "fill"), ("taskiq_jobs.py", "work"), _waiting_in_taskiq, plain),
        Arm("arq", rivals, ("arq_jobs.py", "fill"), ("arq_jobs.py", "work", "defaults"), in_arq, plain),
        Arm("arq_tuned", rivals, ("arq_jobs.py", "fill"), ("arq_jobs.py", "work", "tuned"), in_arq, plain),
        Arm("rq", rivals, ("rq_jobs.py", "fill"), ("rq_jobs.py", "work", "defaults"), in_rq, plain),
        Arm("rq_tuned", rivals, ("rq_jobs.py", "fill"), ("rq_jobs.py", "work", "tuned"), in_rq, plain),
        Arm(
            "dramatiq",
            rivals,
            ("dramatiq_jobs.py", "fill"),
            (dramatiq, "dramatiq_jobs", "--processes", "1"),
            in_dramatiq,
            plain,
        ),
    ]
    return {arm.name: arm for arm in found}


def rate(arm: Arm, stores: Stores, number: int, worker: Callable[[], subprocess.Popen[bytes]]) -> float:
    """Jobs per second over `number` jobs. Raises BenchmarkError when they are not done in time."""
    stores.empty()
    arm.add("add", 0, number)
    running = worker()
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        begun, before = 0.0, number
        while left := arm.backlog(stores.client):
            now = time.monotonic()
            if left < number and not begun:
                begun, before = now, left
            if now > deadline or running.poll() is not None:
                raise BenchmarkError(f"{arm.name}: {left} of {number} jobs left after {LIMIT_SECONDS:.0f} s")
            time.sleep(0.005)
        if not begun:
            raise BenchmarkError(f"{arm.name}: {number} jobs are too few to time")
        return before / (time.monotonic() - begun)
    finally:
        kill(running)


@dataclass
class Toll:
    """What a kill run did to the jobs of an arm."""

    kills: int
    jobs: int
    lost: int
    doubled: int


def killed(arm: Arm, stores: Stores, kills: int, *, chance: random.Random) -> Toll:
    """Kill the arm's worker so often in mid-job, let a last one finish, and count."""
    stores.empty()
    jobs, page = 0, PAGES[arm.name]
    for _ in range(kills):
        # Filled while nobody works: a fast worker would otherwise have nothing in hand when it is killed.
        if arm.backlog(stores.client) < page:
            arm.add("count", jobs, jobs + page)
            jobs += page
        before = sum(effects(arm, stores).values())
        worker = arm.start()
        try:
            _wait_for_progress(arm, stores, worker, before)
            time.sleep(chance.uniform(0.0, 0.1))
        finally:
            kill(worker)
    worker = arm.start()
    try:
        counted: dict[str, int] = {}
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and len(counted) < jobs:
            time.sleep(0.5)
            counted = effects(arm, stores)
        time.sleep(2)  # for what is done twice
        counted = effects(arm, stores)
    finally:
        kill(worker)
    return Toll(kills, jobs, jobs - len(counted), sum(count > 1 for count in counted.values()))


def effects(arm: Arm, stores: Stores) -> dict[str, int]:
    """How often each job counted."""
    if arm.name == "ours_full":
        return {name: count for name, count in stores.ask("SELECT name, count FROM tallies")}
    raw: Any = stores.client.hgetall("effects")
    return {job.decode(): int(count) for job, count in raw.items()}


def _wait_for_progress(arm: Arm, stores: Stores, worker: subprocess.Popen[bytes], before: int) -> None:
    """Return when the worker has done something beyond `before`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while sum(effects(arm, stores).values()) == before:
        if worker.poll() is not None:
            raise BenchmarkError(f"{arm.name}: the worker ended by itself")
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{arm.name}: no job done in {LIMIT_SECONDS:.0f} s, {arm.backlog(stores.client)} wait")
        time.sleep(0.02)


def profiled(arm: Arm, stores: Stores, number: int) -> list[str]:
    """Where our worker spends its time: lines for people, of a run that is not measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile"
        worker: list[subprocess.Popen[bytes]] = []

        def start() -> subprocess.Popen[bytes]:
            worker.append(arm.start(("-m", "cProfile", "-o", str(path), *arm.work)))
            return worker[0]

        stores.empty()
        arm.add("add", 0, number)
        start()
        try:
            while arm.backlog(stores.client):
                time.sleep(0.05)
            worker[0].terminate()
            worker[0].wait(timeout=LIMIT_SECONDS)
        finally:
            if worker[0].poll() is None:
                kill(worker[0])
        return _profile.top(path)


def summarize(report: Report, tolls: dict[str, Toll]) -> None:
    """Fill in the summary from the samples."""
    rates = {name: report.samples(name, "jobs_per_second") for name in SAMPLES}
    for key, arm in (("jobs_per_second", "ours"), ("jobs_per_second_full", "ours_full")):
        report.summary[key] = median(rates[arm]) if rates[arm] else None
    for rival, strongest in STRONGEST.items():
        for key, ours, theirs in (
            (f"ratio_vs_{rival}", "ours", strongest),
            (f"ratio_vs_{rival}_defaults", "ours", rival),
            (f"ratio_full_vs_{rival}", "ours_full", strongest),
        ):
            # Rates, not times: ours over theirs.
            both = rates[ours] and rates[theirs]
            report.summary[key] = bootstrap_ratio(rates[ours], rates[theirs])[0] if both else None
    toll_of_ours = tolls.get("ours_full")
    for key in ("kills", "lost", "doubled"):
        report.summary[key] = getattr(toll_of_ours, key) if toll_of_ours else None
    for name, toll in tolls.items():
        for key in ("kills", "jobs", "lost", "doubled"):
            report.sample(name, f"killed_{key}", getattr(toll, key), "jobs" if key != "kills" else "kills")


@contextmanager
def stores_running() -> Iterator[Stores]:
    """Run the servers."""
    with _servers.redis("--save", "") as redis_url, _servers.postgresql() as postgresql_url:
        migrate(postgresql_url, "jobs")
        yield Stores(redis_url, postgresql_url)


def run(chosen: argparse.Namespace, report: Report) -> None:
    """Measure as the command line says. Raises BenchmarkError."""
    with stores_running() as stores:
        found = arms(stores)
        for number in range(chosen.rounds):
            print(f"round {number + 1} of {chosen.rounds}", file=sys.stderr, flush=True)
            for name, arm in found.items():
                jobs = max(SAMPLES[name] // (4 if chosen.short else 1), 30)
                speed = rate(arm, stores, jobs, arm.start)
                report.sample(name, "jobs_per_second", speed, "jobs/s")
                print(f"  {name}: {speed:.0f} jobs/s", file=sys.stderr, flush=True)
        tolls: dict[str, Toll] = {}
        for name in ("ours_full", *STRONGEST):
            kills = chosen.kills if name == "ours_full" else min(chosen.kills, chosen.rival_kills)
            if not kills:
                continue
            print(f"killing {name} {kills} times", file=sys.stderr, flush=True)
            arm = found[name]
            if name == "arq":
                arm = Arm(
                    arm.name, arm.python, arm.fill, ("arq_jobs.py", "work", "killed"), arm.backlog, arm.environment
                )
            tolls[name] = killed(arm, stores, kills, chance=random.Random(1))
            print(f"  {name}: {tolls[name]}", file=sys.stderr, flush=True)
        for name in ("ours", "ours_full"):
            report.profiles[name] = profiled(found[name], stores, SAMPLES[name] // 2)
    summarize(report, tolls)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="samples of each arm")
    parser.add_argument("--kills", type=int, default=50, help="times that our worker is killed; 1000 is the goal")
    parser.add_argument("--rival-kills", type=int, default=50, help="times that a rival's is, at most")
    parser.add_argument("--short", action="store_true", help="2 rounds of a quarter of the jobs, 5 kills")
    chosen = parser.parse_args()
    if chosen.short:
        chosen.rounds, chosen.kills, chosen.rival_kills = 2, 5, 5
    return chosen


def main() -> None:
    """Run the benchmark."""
    report = Report("queue")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("queue: told to stop"))  # by way of what ends the servers
    chosen = options()
    try:
        run(chosen, report)
    except (BenchmarkError, _servers.ServersMissing, _rivals.RivalsMissing, subprocess.SubprocessError) as error:
        sys.exit(f"queue: {error}")
    report.finish()


if __name__ == "__main__":
    main()
