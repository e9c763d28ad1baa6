# SPDX-License-Identifier: GPL-3.0-or-later
"""Real worker processes: killed, told to stop, drained, without Redis for a while, and what they log."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from jobs.settings import Settings
from jobs.tests.support import Books, environment, until

KILLS = 20
WORKER = ("-m", "jobs", "worker")


def children(pid: int) -> set[int]:
    """Return the processes that a process has started."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def in_flight(process: Any) -> int:
    count: int = json.loads(process.manage("GET", "/drain")[1])["in_flight"]
    return count


def test_nothing_is_lost_or_done_twice_when_workers_are_killed(start: Any, settings: Settings, books: Books) -> None:
    names = [f"n{number}" for number in range(5)]
    given = environment(settings, concurrency=10, losses=KILLS + 1)
    workers = [start(*WORKER, **given) for _ in range(2)]
    chance = random.Random(7)
    for kill in range(KILLS):
        if len(books.rows("SELECT id FROM jobs WHERE state <> 'done'")) < 200:
            books.load(names * 40, seconds=0.05)
        # In mid-job: it has some in hand, and gets no moment to put them down.
        victim = workers[kill % 2]
        until(partial(in_flight, victim), books.states)
        until(lambda: chance.random() < 0.1)
        victim.popen.kill()
        assert victim.wait()[0] == -signal.SIGKILL
        workers[kill % 2] = start(*WORKER, **given)
    until(lambda: set(books.states()) == {"done"}, books.states)
    asked = Counter(row["name"] for row in books.rows("SELECT payload->>'name' AS name FROM jobs"))
    assert books.tallies() == asked
    assert (
        books.rows("SELECT count(*) FROM jobs WHERE losses > 0")[0]["count"] > 0
    )  # kills that hit nothing prove nothing


def test_a_long_job_stays_with_its_living_worker(start: Any, settings: Settings, books: Books) -> None:
    books.load(["a"] * 4, seconds=settings.visibility_seconds * 3)
    given = environment(settings)
    for _ in range(2):
        start(*WORKER, **given)
    books.wait_for(done=4)
    assert books.rows("SELECT DISTINCT attempts, losses FROM jobs") == [{"attempts": 1, "losses": 0}]
    assert books.tallies() == {"a": 4}


def test_a_killed_workers_job_is_taken_over_on_a_quiet_queue(start: Any, settings: Settings, books: Books) -> None:
    books.load(["a"], seconds=0.5)
    given = environment(settings)
    first = start(*WORKER, **given)
    until(lambda: books.states() == {"running": 1}, books.states)
    first.popen.kill()
    start(*WORKER, **given)  # no new job wakes it
    books.wait_for(done=1)
    assert books.rows("SELECT attempts, losses FROM jobs") == [{"attempts": 2, "losses": 1}]


def test_told_to_stop_a_worker_finishes_what_it_has(start: Any, settings: Settings, books: Books) -> None:
    books.load(["a"] * 3, seconds=1)
    worker = start(*WORKER, **environment(settings))
    until(lambda: in_flight(worker) == 3, books.states)
    worker.popen.terminate()
    status, output = worker.wait()
    assert (status, "Traceback" in output) == (0, False), output
    assert (books.states(), books.tallies()) == ({"done": 3}, {"a": 3})
    assert books.rows("SELECT name FROM workers") == []


def test_told_to_stop_a_worker_hands_back_what_takes_too_long(start: Any, settings: Settings, books: Books) -> None:
    books.load(["quick"], seconds=0.5)
    books.load(["slow"] * 2, seconds=600)
    books.rows("""INSERT INTO jobs (id, kind, payload, owner, due_at)
        VALUES (gen_random_uuid(), 'primes', '{"below": 20000000}', 'test', now() - interval '1 minute')""")
    worker = start(*WORKER, **environment(settings, drain_seconds=1, visibility_seconds=600))
    until(lambda: in_flight(worker) == 4, books.states)
    worker.popen.terminate()
    status, output = worker.wait()
    assert (status, "Traceback" in output) == (0, False), output
    assert books.rows("SELECT payload->>'name' AS name, state, attempts FROM jobs WHERE kind = 'tally' ORDER BY 1") == [
        {"name": "quick", "state": "done", "attempts": 1},
        {"name": "slow", "state": "queued", "attempts": 0},
        {"name": "slow", "state": "queued", "attempts": 0},
    ]
    # There for the next worker at once, though the visibility time-out is ten minutes away.
    after = start(*WORKER, **environment(settings, visibility_seconds=600))
    until(lambda: in_flight(after) >= 2, books.states)


def test_a_drained_worker_takes_no_job_and_lives(start: Any, settings: Settings, books: Books) -> None:
    worker = start(*WORKER, **environment(settings))
    assert json.loads(worker.manage("PUT", "/drain")[1])["drained"] is True
    until(lambda: books.rows("SELECT state FROM workers") == [{"state": "drained"}])
    books.load(["a"] * 5)
    other = start(*WORKER, **environment(settings, concurrency=1, cpu_workers=1))
    books.wait_for(done=5)
    metrics = worker.manage("GET", "/metrics")[1]
    assert 'jobs_total{kind="tally",outcome="done"}' not in metrics
    assert worker.manage("GET", "/health/ready")[0] == 200
    assert 'jobs_total{kind="tally",outcome="done"} 5.0' in other.manage("GET", "/metrics")[1]
    other.popen.terminate()
    other.wait()
    assert json.loads(worker.manage("DELETE", "/drain")[1])["drained"] is False
    books.load(["a"])
    books.wait_for(done=6)


def test_redis_may_go_away_come_back_and_forget(start: Any, settings: Settings, books: Books, redis: Any) -> None:
    worker = start(*WORKER, **environment(settings, concurrency=5))
    books.load(["a"] * 100, seconds=0.02)
    until(lambda: books.states().get("done", 0) > 10, books.states)
    redis.stop()
    until(lambda: worker.manage("GET", "/health/ready")[0] == 503)
    books.load(["a"] * 50)
    redis.start()
    until(lambda: books.states().get("done", 0) > 60, books.states)
    redis.flush()
    books.wait_for(done=150)
    assert books.tallies() == {"a": 150}
    assert worker.popen.poll() is None


def test_a_killed_worker_takes_its_computing_processes_along(start: Any, settings: Settings, books: Books) -> None:
    books.rows("""INSERT INTO jobs (id, kind, payload, owner, due_at)
        VALUES (gen_random_uuid(), 'primes', '{"below": 20000000}', 'test', now() - interval '1 minute')""")
    worker = start(*WORKER, **environment(settings))
    computing = until(lambda: children(worker.popen.pid), books.states)
    books.wait_for(done=1)
    worker.popen.kill()
    worker.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in computing), lambda: os.listdir("/proc"))


def test_the_lines_of_a_job_carry_the_request_that_asked_for_it(
    start: Any, settings: Settings, books: Books, client: TestClient, admin: dict[str, str]
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    asked = {"x-request-id": "request-7", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    for kind, payload in (("checksum", {"text": "a"}), ("poison", {})):
        answer = client.post("/api/job", json={"kind": kind, "payload": payload}, headers=admin | asked)
        assert answer.status_code == 202
    books.load(["asked for by nobody"])
    worker = start(*WORKER, **environment(settings))
    books.wait_for(done=2, dead=1)
    worker.popen.terminate()
    lines = [json.loads(line) for line in worker.wait()[1].splitlines()]
    told = Counter((line["kind"], line["outcome"], line["request_id"]) for line in lines if line["event"] == "job")
    (alone,) = {request for kind, _, request in told if kind == "tally"}
    assert told == {
        ("checksum", "done", "request-7"): 1,
        ("poison", "retried", "request-7"): settings.attempts - 1,
        ("poison", "dead", "request-7"): 1,
        ("tally", "done", alone): 1,
    }
    of_request = [line for line in lines if line.get("request_id") == "request-7"]
    assert {line["trace_id"] for line in of_request} == {trace_id}
    # What a run says itself is found too: the library tells of each exception.
    assert sum("fails always" in json.dumps(line) for line in of_request if line["event"] != "job") == settings.attempts
