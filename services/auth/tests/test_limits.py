# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock-outs and rates: shared by replicas, silent about who exists, and no weapon against a victim."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from starlette.testclient import TestClient

from auth.limits.client import client_of
from auth.limits.rules import delays
from auth.tests.conftest import Replicas
from auth.tests.support import PASSWORD, Clock, log_in, metric, rows, sign_up

PODS = [ip_network("10.244.0.0/16"), ip_network("fd00::/8")]
GATEWAY: dict[str, Any] = {"address": "10.244.0.9", "trusted_proxies": "10.244.0.0/16"}


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # no proxy of ours
        ("10.244.0.9", [], "10.244.0.9"),
        ("10.244.0.9", ["198.51.100.1"], "198.51.100.1"),
        ("10.244.0.9", ["192.0.2.1, 198.51.100.1"], "198.51.100.1"),  # what stands left is invented
        ("10.244.0.9", ["192.0.2.1", "198.51.100.1"], "198.51.100.1"),
        ("10.244.0.9", ["198.51.100.1, 10.244.1.1"], "198.51.100.1"),  # through two proxies
        ("10.244.0.9", ["10.244.1.1"], "10.244.1.1"),
        ("10.244.0.9", ["198.51.100.1, nonsense"], "10.244.0.9"),
        ("10.244.0.9", [""], "10.244.0.9"),
        ("10.244.0.9", ["192.0.2.1," + "10.244.1.1," * 2000 + "10.244.1.1"], "10.244.1.1"),  # not read to its end
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        ("fd00::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("testclient", ["198.51.100.1"], "testclient"),
    ],
)
def test_who_the_client_is(peer: str, forwarded: list[str], expected: str) -> None:
    assert client_of(peer, forwarded, PODS) == expected


@pytest.mark.parametrize(
    ("failures", "expected"),
    [(1, [30, 60, 100]), (3, [0, 0, 30, 60, 100])],
)
def test_delays_grow_to_a_longest(failures: int, expected: list[float]) -> None:
    assert delays(failures, first=30, longest=100) == expected


def test_a_first_delay_longer_than_the_longest_is_the_longest() -> None:
    assert delays(2, first=500, longest=100) == [0, 100]


def fail(client: TestClient, email: str = "ada@example.org", **headers: str) -> Any:
    return client.post("/login", json={"email": email, "password": "a wrong one"}, headers=headers)


def forwarded(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def test_wrong_passwords_lock_with_a_growing_delay_on_every_replica(replica: Replicas, clock: Clock) -> None:
    with replica() as one, replica() as other:
        user = sign_up(one, "ada@example.org")
        for number in range(5):
            assert fail((one, other)[number % 2]).status_code == 401
        for client in (one, other):
            locked = client.post("/login", json=user)  # also with the right one
            assert (locked.status_code, locked.headers["retry-after"]) == (429, "30")
        clock.go_on(seconds=30)
        assert fail(one).status_code == 401
        assert other.post("/login", json=user).headers["retry-after"] == "60"
        clock.go_on(seconds=60)
        for expected in ("120", "240", "480", "900", "900"):
            assert fail(one).status_code == 401
            locked = one.post("/login", json=user)
            assert (locked.status_code, locked.headers["retry-after"]) == (429, expected)
            clock.go_on(seconds=int(expected))
        log_in(one, user)
        # Forgiven: the next wrong one is the first.
        for _ in range(4):
            assert fail(one).status_code == 401
        log_in(one, user)
        assert metric(one, "auth_lockouts_total") == 7
        assert metric(one, "auth_logins_total", outcome="locked") == 6


def test_an_account_that_does_not_exist_locks_just_the_same(replica: Replicas) -> None:
    with replica() as client:
        sign_up(client, "ada@example.org")
        answers = [[fail(client, email) for _ in range(7)] for email in ("ada@example.org", "nobody@example.org")]
    for known, unknown in zip(*answers, strict=True):
        assert known.status_code == unknown.status_code
        assert known.headers.get("retry-after") == unknown.headers.get("retry-after")
        assert known.json()["detail"] == unknown.json()["detail"]


def test_knocking_on_a_locked_door_does_not_keep_it_locked(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        user = sign_up(client, "ada@example.org")
        for _ in range(5):
            fail(client)
        for _ in range(29):
            clock.go_on(seconds=1)
            assert fail(client).status_code == 429
        clock.go_on(seconds=1)
        log_in(client, user)


def test_an_attacker_elsewhere_never_delays_the_owner(replica: Replicas, clock: Clock) -> None:
    with replica(account_logins_per_hour=10, **GATEWAY) as client:
        home = forwarded("198.51.100.1")
        user = sign_up(client, "ada@example.org")
        assert client.post("/login", json=user, headers=home).status_code == 200
        for attacker in range(20):  # many addresses: the account's rate for strangers is used up
            for _ in range(3):
                fail(client, **forwarded(f"192.0.2.{attacker}"))
        assert fail(client, **forwarded("192.0.2.99")).status_code == 429
        for _ in range(3):
            assert client.post("/login", json=user, headers=home).status_code == 200
        # In a new place the owner waits as strangers do, minutes; and then that place is known.
        away = forwarded("198.51.100.200")
        refused = client.post("/login", json=user, headers=away)
        assert refused.status_code == 429
        clock.go_on(seconds=int(refused.headers["retry-after"]))
        assert int(refused.headers["retry-after"]) <= 360
        assert client.post("/login", json=user, headers=away).status_code == 200


def test_one_attacker_alone_does_not_use_up_the_strangers_rate(replica: Replicas) -> None:
    with replica(account_logins_per_hour=10, **GATEWAY) as client:
        user = sign_up(client, "ada@example.org")
        for _ in range(100):
            fail(client, **forwarded("192.0.2.1"))
        assert client.post("/login", json=user, headers=forwarded("198.51.100.1")).status_code == 200


def test_log_ins_from_the_usual_place_leave_the_strangers_rate_alone(replica: Replicas) -> None:
    with replica(account_logins_per_hour=2, **GATEWAY) as client:
        user = sign_up(client, "ada@example.org")
        for _ in range(5):
            assert client.post("/login", json=user, headers=forwarded("198.51.100.1")).status_code == 200
        assert client.post("/login", json=user, headers=forwarded("198.51.100.2")).status_code == 200


def test_a_thiefs_place_does_not_become_a_usual_one(replica: Replicas, clock: Clock) -> None:
    with replica(account_logins_per_hour=1, **GATEWAY) as client:
        user = sign_up(client, "ada@example.org")
        thief = forwarded("192.0.2.1")
        tokens = client.post("/login", json=user, headers=thief).json()
        stolen = {"refresh_token": tokens["refresh_token"]}
        assert client.post("/refresh", json=stolen, headers=thief).status_code == 200
        clock.go_on(seconds=11)
        assert client.post("/refresh", json=stolen, headers=thief).status_code == 401
        assert client.post("/login", json=user, headers=thief).status_code == 429


@pytest.mark.parametrize("path", ["/login", "/signup"])
def test_a_client_has_a_rate_on_all_replicas_together(replica: Replicas, clock: Clock, path: str) -> None:
    settings: dict[str, Any] = {"client_logins_per_minute": 6, "client_signups_per_minute": 6, **GATEWAY}
    with replica(**settings) as one, replica(**settings) as other:

        def ask(number: int, address: str = "198.51.100.1") -> Any:
            body = {"email": f"{number}@example.org", "password": PASSWORD}
            return (one, other)[number % 2].post(path, json=body, headers=forwarded(address))

        expected = 401 if path == "/login" else 201
        assert [ask(number).status_code for number in range(6)] == [expected] * 6
        refused = ask(6)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
        assert ask(7, "198.51.100.2").status_code == expected  # another client
        clock.go_on(seconds=10)
        assert ask(8).status_code == expected
        assert ask(9).status_code == 429
        clock.go_on(minutes=1)
        assert [ask(number).status_code for number in range(10, 17)] == [expected] * 6 + [429]


def test_an_invented_address_is_not_believed(replica: Replicas) -> None:
    with replica(client_logins_per_minute=3) as client:  # no proxy is trusted
        statuses = [fail(client, f"{n}@example.org", **forwarded(f"192.0.2.{n}")).status_code for n in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


def test_counters_hold_no_address_and_are_dropped_when_they_mean_nothing(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        sign_up(client, "ada@example.org")
        fail(client)
    found = rows(replica.url, "SELECT key FROM rates UNION ALL SELECT key FROM lockouts")
    assert found
    assert all(len(key) == 16 for (key,) in found)
    clock.go_on(hours=25)
    with replica():  # purges as it starts
        assert rows(replica.url, "SELECT key FROM rates UNION ALL SELECT key FROM lockouts") == []


def test_a_log_in_asks_the_database_twice_and_a_refresh_once(replica: Replicas) -> None:
    from sqlalchemy import event

    with replica() as client:
        user = sign_up(client, "ada@example.org")
        engine = client.app.state.database._engine.sync_engine  # type: ignore[attr-defined]
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "families" in statement or "lockouts" in statement or "users" in statement:
                statements.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        tokens = log_in(client, user)
        assert len(statements) == 2
        assert client.post("/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 200
        assert len(statements) == 3
        fail(client)
        assert len(statements) == 5


def test_every_statement_of_the_request_path_finds_its_rows_by_index(replica: Replicas) -> None:
    from auth.families.service import _BEGIN, _LOOK, _ROTATE
    from auth.limits.service import _FAIL, _TAKE
    from auth.logins.service import _ADMIT

    # Forbidden a sequential scan, the planner takes one only where no index serves.
    spans = ("gap", "slack", "client_gap", "client_slack", "account_gap", "account_slack")
    literals = dict.fromkeys(("now", "expires_at", "ends_at"), "now()") | dict.fromkeys(spans, "'1 s'::interval")
    literals |= dict.fromkeys(("id", "user_id"), f"'{uuid4()}'::uuid") | dict.fromkeys(
        ("last", "password_version"), "1"
    )
    literals |= {"email": "'a'", "renewed": "'x'", "delays": "ARRAY[1.0]"}
    for statement in (_ADMIT, _BEGIN, _ROTATE, _LOOK, _TAKE, _FAIL):
        query = str(statement)
        for name in sorted(statement._bindparams, key=len, reverse=True):
            query = query.replace(f":{name}", literals.get(name, "''::bytea"))
        with psycopg.connect(replica.url) as connection:
            connection.execute("SET enable_seqscan = off")
            plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + query))
        assert "Seq Scan" not in plan, plan
