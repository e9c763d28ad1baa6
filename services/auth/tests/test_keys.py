# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing keys: decided by a table, shared by replicas, rotated under live tokens."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from auth.keys.models import ACTIVE, NEXT, RETIRING, SigningKey
from auth.keys.plan import Plan, plan
from auth.keys.seal import CannotOpen, Seal, first_key, kid_of
from auth.tests.conftest import Replicas
from auth.tests.support import SECRET, Clock, bearer, log_in, metric, rows, sign_up

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ADMIN = {"email": "admin@opsforge.local", "password": "a long admin password"}
WITH_ADMIN: dict[str, Any] = {"admin_password": ADMIN["password"]}


def key(kid: str, state: str, *, age: float, ends_in: float | None = None) -> SigningKey:
    ends_at = None if ends_in is None else NOW + timedelta(seconds=ends_in)
    return SigningKey(kid=kid, state=state, state_since=NOW - timedelta(seconds=age), ends_at=ends_at)


OLD, YOUNG = 1000, 10
PLANS: dict[str, tuple[Sequence[SigningKey], bool, Plan]] = {
    "nothing there": ([], False, Plan(make_first=True, make_next=True)),
    "all well": ([key("a", ACTIVE, age=YOUNG), key("n", NEXT, age=YOUNG)], False, Plan()),
    "no next": ([key("a", ACTIVE, age=OLD)], False, Plan(make_next=True)),
    "active is old": (
        [key("a", ACTIVE, age=OLD), key("n", NEXT, age=OLD)],
        False,
        Plan(retire="a", promote="n", make_next=True),
    ),
    "active is old, next not settled": ([key("a", ACTIVE, age=OLD), key("n", NEXT, age=YOUNG)], False, Plan()),
    "asked to": (
        [key("a", ACTIVE, age=YOUNG), key("n", NEXT, age=OLD)],
        True,
        Plan(retire="a", promote="n", make_next=True),
    ),
    "asked to, next not settled": ([key("a", ACTIVE, age=YOUNG), key("n", NEXT, age=YOUNG)], True, Plan()),
    "one is gone": (
        [
            key("a", ACTIVE, age=YOUNG),
            key("n", NEXT, age=YOUNG),
            key("r", RETIRING, age=OLD, ends_in=0),
            key("s", RETIRING, age=OLD, ends_in=1),
        ],
        False,
        Plan(forget=("r",)),
    ),
    "active was lost": ([key("n", NEXT, age=YOUNG)], False, Plan(promote="n", make_next=True)),
}


@pytest.mark.parametrize("name", PLANS)
def test_what_happens_to_the_keys(name: str) -> None:
    keys, rotate, expected = PLANS[name]
    wanted = plan(keys, now=NOW, max_age=timedelta(seconds=500), settle=timedelta(seconds=30), rotate=rotate)
    assert wanted == expected
    assert bool(wanted) == (expected != Plan())


def test_a_sealed_key_opens_under_its_secret_and_its_name_only() -> None:
    private = Ed25519PrivateKey.generate()
    kid = kid_of(private.public_key())
    sealed = Seal([SECRET]).close(private)
    assert private.private_bytes_raw() not in sealed
    assert sealed != Seal([SECRET]).close(private)
    assert Seal(["another", SECRET]).open(kid, sealed).private_bytes_raw() == private.private_bytes_raw()
    for seal, name in ((Seal(["another"]), kid), (Seal([SECRET]), "another kid")):
        with pytest.raises(CannotOpen):
            seal.open(name, sealed)


def kids(client: TestClient) -> list[str]:
    return [jwk["kid"] for jwk in client.get("/.well-known/jwks.json").json()["keys"]]


def kid_in(tokens: dict[str, Any]) -> str:
    return str(jwt.get_unverified_header(tokens["access_token"])["kid"])


def rotate(client: TestClient, admin: dict[str, Any]) -> Any:
    return client.post("/keys/rotate", headers=bearer(admin))


def test_replicas_that_start_together_share_one_active_and_one_next_key(replica: Replicas) -> None:
    def start(_: int) -> list[str]:
        with replica() as client:
            return kids(client)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(start, range(4)))
    assert all(each == found[0] for each in found)
    assert sorted(rows(replica.url, "SELECT state FROM signing_keys")) == [("active",), ("next",)]
    assert kid_of(first_key(SECRET).public_key()) in found[0]


def test_private_parts_are_neither_published_nor_readable_in_the_database(replica: Replicas) -> None:
    with replica() as client:
        answer = client.get("/.well-known/jwks.json")
        assert all("d" not in jwk for jwk in answer.json()["keys"])
        assert answer.headers["cache-control"] == "public, max-age=15"
        private = first_key(SECRET).private_bytes_raw()
        for (sealed,) in rows(replica.url, "SELECT sealed FROM signing_keys"):
            assert private not in sealed


def test_live_tokens_survive_rotations_and_a_key_is_gone_after_its_time(replica: Replicas, clock: Clock) -> None:
    with replica(**WITH_ADMIN) as one, replica() as other:
        admin = log_in(one, ADMIN)
        user = sign_up(one, "ada@example.org")
        first = log_in(one, user)
        clock.go_on(seconds=60)

        states = {key["kid"]: key["state"] for key in rotate(one, admin).json()}
        assert states[kid_in(first)] == "retiring"
        assert sorted(states.values()) == ["active", "next", "retiring"]
        second = log_in(one, user)
        assert states[kid_in(second)] == "active"
        # The other replica has not looked since: it knows the key as the next one, and verifies with it.
        assert other.get("/me", headers=bearer(second)).status_code == 200

        clock.go_on(seconds=60)
        rotate(one, admin)
        third = log_in(one, user)
        assert len({kid_in(tokens) for tokens in (first, second, third)}) == 3
        # This key the other one has never seen: an unknown kid makes it look.
        for tokens in (first, second, third):
            for client in (one, other):
                assert client.get("/me", headers=bearer(tokens)).status_code == 200
        assert kids(one) == kids(other)

        clock.go_on(minutes=15)  # as long as tokens live, and the margin for replicas that have not looked
        for client in (one, other):
            assert client.get("/me", headers=bearer(first)).status_code == 401
            assert kid_in(first) not in kids(client)
            assert client.get("/me", headers=bearer(third)).status_code == 200
        clock.go_on(minutes=2)
    with replica() as later:
        assert kid_in(second) not in kids(later)
    gone = (kid_in(first), kid_in(second))
    assert not set(gone) & {kid for (kid,) in rows(replica.url, "SELECT kid FROM signing_keys")}


def test_a_key_too_young_to_be_known_everywhere_does_not_sign(replica: Replicas, clock: Clock) -> None:
    with replica(**WITH_ADMIN) as client:
        admin = log_in(client, ADMIN)
        answer = rotate(client, admin)
        assert (answer.status_code, answer.headers["retry-after"]) == (409, "30")
        clock.go_on(seconds=30)
        assert rotate(client, admin).status_code == 200
        assert rotate(client, admin).status_code == 409


def test_rotations_at_the_same_moment_rotate_once(replica: Replicas, clock: Clock) -> None:
    with replica(**WITH_ADMIN) as one, replica() as other:
        admin = log_in(one, ADMIN)
        clock.go_on(minutes=1)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda number: rotate((one, other)[number % 2], admin), range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


def test_a_key_is_rotated_by_age_and_every_replica_picks_it_up(replica: Replicas, clock: Clock) -> None:
    with replica(key_poll_seconds=0.05) as one, replica(key_poll_seconds=0.05) as other:
        before = log_in(one, sign_up(one, "ada@example.org"))
        clock.go_on(days=31)

        def signs_anew(client: TestClient) -> bool:
            return kid_in(log_in(client, {"email": "ada@example.org", "password": "correct horse battery"})) != kid_in(
                before
            )

        while not (signs_anew(one) and signs_anew(other)):
            pass
        assert kids(one) == kids(other)
        assert metric(one, "auth_signing_key_age_seconds") == 0
        assert metric(one, "auth_signing_keys", state="retiring") == 1


def test_the_age_of_the_key_is_measured(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        clock.go_on(hours=1)
        assert metric(client, "auth_signing_key_age_seconds") == 3600


def test_another_secret_is_not_ready_and_says_so_while_old_tokens_verify(replica: Replicas) -> None:
    with replica() as client:
        tokens = log_in(client, sign_up(client, "ada@example.org"))
    with replica(signing_secret=SECRET[::-1]) as client:
        assert client.get("/health").json()["dependencies"]["keys"] == "NoSigningKey"
        answer = client.post("/login", json={"email": "ada@example.org", "password": "correct horse battery"})
        assert answer.status_code == 503
        assert client.get("/me", headers=bearer(tokens)).status_code == 200
    with replica(signing_secret=SECRET[::-1], previous_signing_secret=SECRET) as client:
        assert client.get("/health").status_code == 200
        log_in(client, {"email": "ada@example.org", "password": "correct horse battery"})


def test_invented_kids_do_not_make_us_ask_the_database(replica: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    with replica() as client:
        keyring = client.app.state.auth.keyring  # type: ignore[attr-defined]
        reads: list[int] = []
        original = keyring._read

        async def counting() -> None:
            reads.append(1)
            await original()

        monkeypatch.setattr(keyring, "_read", counting)
        monkeypatch.setattr(keyring, "_monotonic", lambda: 1000.0)
        for number in range(50):
            forged = jwt.encode({}, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": f"{number:016x}"})
            assert client.post("/validate", json={"token": forged}).status_code == 401
        assert len(reads) == 1


def test_rotation_is_for_administrators(client: TestClient, token: str) -> None:
    for method, path in (("POST", "/keys/rotate"), ("GET", "/keys")):
        assert client.request(method, path).status_code == 401
        assert client.request(method, path, headers={"Authorization": f"Bearer {token}"}).status_code == 403
