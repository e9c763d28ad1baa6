# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is calling: what passes, what must not, and where auth's keys come from."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import APIRouter, Depends
from pydantic import SecretStr
from starlette.testclient import TestClient

from kit import create_app
from kit.clients import Client, DependencyFailed
from kit.metrics import Metrics
from kit.testing import Issuer
from kit.tokens import Caller, CallerDep, InvalidToken, ServiceDep, Tokens, TokenSettings, UserDep, require_role

USER = UUID("7b0c5bb4-6a7f-4b57-8f7a-0d2b6bb3f1aa")
AdminDep = Annotated[Caller, Depends(require_role("admin"))]

router = APIRouter()


@router.get("/caller")
async def show_caller(caller: CallerDep) -> dict[str, Any]:
    return {"id": caller.id, "email": caller.email, "roles": sorted(caller.roles), "service": caller.service}


@router.get("/user")
async def show_user(caller: UserDep) -> UUID:
    return caller.user_id


@router.get("/service")
async def show_service(caller: ServiceDep) -> str:
    return caller.service


@router.get("/admin")
async def show_admin(caller: AdminDep) -> bool:
    return True


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def client(issuer: Issuer) -> Iterator[TestClient]:
    settings = TokenSettings(service="catalog", **issuer.settings())
    with TestClient(create_app(settings, routers=[router])) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_user_is_known_by_what_auth_signed(client: TestClient, issuer: Issuer) -> None:
    headers = issuer.headers(sub=USER, roles=["customer", "admin"], email="ada@example.org")
    for _ in range(2):  # the second time from memory
        assert client.get("/caller", headers=headers).json() == {
            "id": str(USER),
            "email": "ada@example.org",
            "roles": ["admin", "customer"],
            "service": "",
        }
    assert client.get("/user", headers=headers).json() == str(USER)
    assert client.get("/admin", headers=headers).status_code == 200
    assert client.get("/service", headers=headers).status_code == 403
    assert client.get("/admin", headers=issuer.headers()).status_code == 403


def test_a_service_is_known_by_the_key_it_was_given(client: TestClient, issuer: Issuer) -> None:
    headers = issuer.service_headers(iss="orders", aud="catalog")
    assert client.get("/service", headers=headers).json() == "orders"
    assert client.get("/caller", headers=headers).json()["id"] is None
    assert client.get("/user", headers=headers).status_code == 403
    assert client.get("/admin", headers=headers).status_code == 403


def forgeries(issuer: Issuer) -> dict[str, str]:
    good = issuer.token()
    head, body, signature = good.split(".")
    raw = issuer.key.public_key().public_bytes_raw()
    pem = issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = issuer.internal_key.get_secret_value()
    now = int(time.time())
    service = {"iss": "orders", "aud": "catalog", "iat": now, "exp": now + 60}

    def claims(**changed: Any) -> dict[str, Any]:
        return issuer.claims(**changed)

    def without(name: str) -> dict[str, Any]:
        return {key: value for key, value in claims().items() if key != name}

    def hs256(payload: dict[str, Any], secret: bytes | str, kid: str) -> str:
        # PyJWT itself will not sign with a PEM: do as an attacker would.
        encoded = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{part(payload)}"
        algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        digest = algorithm.sign(encoded.encode(), secret.encode() if isinstance(secret, str) else secret)
        return f"{encoded}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    return {
        "empty": "",
        "garbage": "not a token",
        "dots": "...",
        "deep": f"{base64.urlsafe_b64encode(b'[' * 2900).decode().rstrip('=')}.{body}.{signature}",
        "oversize": f"{head}.{body}.{'A' * 5000}",
        "alg-none": f"{part({'alg': 'none', 'kid': issuer.kid})}.{part(claims())}.",
        "alg-none-internal": f"{part({'alg': 'none', 'kid': 'internal'})}.{part(service)}.",
        "alg-none-with-signature": f"{part({'alg': 'none', 'kid': issuer.kid})}.{part(claims())}.{signature}",
        "hs256-with-the-public-key": hs256(claims(), raw, issuer.kid),
        "hs256-with-the-public-pem": hs256(claims(), pem, issuer.kid),
        "hs256-with-the-public-key-as-a-service": hs256(service, raw, "internal"),
        "a-user-signed-by-a-service": hs256(claims(), key, issuer.kid),
        "a-user-signed-by-a-service-as-one": hs256(claims(), key, "internal"),
        "a-service-signed-by-auth": issuer.sign(service, kid="internal"),
        "a-service-signed-by-auths-kid": issuer.sign(service),
        "other-key": Issuer().token(),
        "other-key-of-our-kid": Issuer().sign(claims(), kid=issuer.kid),
        "no-kid": jwt.encode(claims(), issuer.key, algorithm="EdDSA"),
        "kid-is-a-number": f"{part({'alg': 'EdDSA', 'kid': 7})}.{body}.{signature}",
        "no-signature": f"{head}.{body}.",
        "changed-claims": f"{head}.{part(claims(roles=['admin']))}.{signature}",
        "other-issuer": issuer.sign(claims(iss="elsewhere")),
        "other-audience": issuer.sign(claims(aud="elsewhere")),
        "expired": issuer.sign(claims(iat=now - 1000, exp=now - 60)),
        "from-the-future": issuer.sign(claims(iat=now + 600, exp=now + 1200)),
        "no-exp": issuer.sign(without("exp")),
        "no-aud": issuer.sign(without("aud")),
        "no-sub": issuer.sign(without("sub")),
        "sub-is-no-uuid": issuer.sign(claims(sub="admin")),
        "roles-is-text": issuer.sign(claims(roles="admin")),
        "roles-of-lists": issuer.sign(claims(roles=[["admin"]])),
        "exp-is-text": issuer.sign(claims(exp="never")),
        "service-for-another": issuer.service_token(iss="orders", aud="payments"),
        "service-of-another-key": Issuer().service_token(iss="orders", aud="catalog"),
        "service-without-name": issuer.service_token(iss="", aud="catalog"),
        "service-for-a-year": hs256({**service, "exp": now + 31_536_000}, key, "internal"),
        "service-expired": hs256({**service, "iat": now - 120, "exp": now - 60}, key, "internal"),
    }


@pytest.mark.parametrize("name", forgeries(Issuer()))
def test_forged_tokens_are_401(client: TestClient, issuer: Issuer, name: str) -> None:
    answer = client.get("/caller", headers=bearer(forgeries(issuer)[name]))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == (
        "The token has expired." if "expired" in name else "The token is missing or not valid."
    )


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "token", "Bearer a b"])
def test_no_token_is_401(client: TestClient, header: str | None) -> None:
    assert client.get("/caller", headers={"Authorization": header} if header is not None else {}).status_code == 401


def test_without_an_internal_key_no_service_may_call(issuer: Issuer) -> None:
    settings = TokenSettings(service="catalog", jwks=json.dumps(issuer.jwks()))
    with TestClient(create_app(settings, routers=[router])) as client:
        assert client.get("/caller", headers=issuer.service_headers(iss="orders", aud="catalog")).status_code == 401


def test_a_remembered_token_ends_all_the_same(
    client: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = issuer.headers()
    assert client.get("/caller", headers=headers).status_code == 200
    later = time.time() + 1000
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(jwt.api_jwt, "datetime", _Later(later))
    assert client.get("/caller", headers=headers).status_code == 401


class _Later:
    """The datetime module's class as PyJWT uses it, at another time."""

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self, tz: Any = None) -> Any:
        from datetime import datetime

        return datetime.fromtimestamp(self._now, tz)


class Auth:
    """Stands in for auth's JWKS route: what it answers can be changed, and it counts."""

    def __init__(self, *issuers: Issuer) -> None:
        self.keys = [issuer.jwks()["keys"][0] for issuer in issuers]
        self.away = False
        self.asked = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        assert request.url.path == "/.well-known/jwks.json"
        if self.away:
            raise httpx2.ConnectError("away", request=request)
        return httpx2.Response(200, json={"keys": self.keys})


def tokens(auth: Auth, clock: Any) -> Tokens:
    settings = TokenSettings(service="catalog")
    transport = httpx2.MockTransport(auth)
    client = Client("auth", "http://auth", settings=settings, metrics=Metrics(settings), transport=transport)
    return Tokens(settings, client, clock=clock)


def test_keys_are_fetched_once_and_again_for_a_new_one(issuer: Issuer, clock: Any) -> None:
    async def go() -> None:
        auth = Auth(issuer)
        checked = tokens(auth, clock)
        await asyncio.gather(*(checked.verify(issuer.token()) for _ in range(20)))
        assert auth.asked == 1
        rotated = Issuer()
        auth.keys.append(rotated.jwks()["keys"][0])
        # However many unknown keys are shown, auth is asked once in a while.
        for _ in range(3):
            with pytest.raises(InvalidToken):
                await checked.verify(rotated.token())
        assert auth.asked == 1
        clock.now += 5
        assert (await checked.verify(rotated.token())).id
        assert (await checked.verify(issuer.token())).id
        assert auth.asked == 2

    asyncio.run(go())


def test_keys_are_kept_while_auth_is_away(issuer: Issuer, clock: Any) -> None:
    async def go() -> None:
        auth = Auth(issuer)
        checked = tokens(auth, clock)
        await checked.verify(issuer.token())
        auth.away = True
        clock.now += 100_000
        assert (await checked.verify(issuer.token())).id
        with pytest.raises(InvalidToken):
            await checked.verify(Issuer().token())
        assert (await checked.verify(issuer.token())).id

    asyncio.run(go())


def test_a_withdrawn_key_takes_its_tokens_along(issuer: Issuer, clock: Any) -> None:
    async def go() -> None:
        other = Issuer()
        auth = Auth(issuer, other)
        checked = tokens(auth, clock)
        token = issuer.token()
        await checked.verify(token)
        del auth.keys[0]
        clock.now += 300
        await checked.verify(token)  # this one still passes, and makes the keys be fetched
        assert checked._fetching
        await checked._fetching
        with pytest.raises(InvalidToken):
            await checked.verify(token)
        assert (await checked.verify(other.token())).id

    asyncio.run(go())


def test_before_the_first_key_nobody_can_be_checked(issuer: Issuer, clock: Any) -> None:
    async def go() -> None:
        auth = Auth(issuer)
        auth.away = True
        checked = tokens(auth, clock)
        for _ in range(2):
            with pytest.raises(DependencyFailed):
                await checked.verify(issuer.token())
        asked = auth.asked
        auth.away = False
        clock.now += 5
        assert (await checked.verify(issuer.token())).id
        assert auth.asked == asked + 1

    asyncio.run(go())


def test_what_auth_publishes_is_not_trusted_blindly(issuer: Issuer, clock: Any) -> None:
    async def go() -> None:
        auth = Auth(issuer)
        secret = "0123456789abcdef" * 2
        auth.keys += [
            {"kty": "oct", "kid": "symmetric", "k": part(secret), "alg": "HS256"},
            {**auth.keys[0], "kid": "internal"},
            {"kty": "OKP"},
            "text",
            None,
        ]
        checked = tokens(auth, clock)
        assert (await checked.verify(issuer.token())).id
        symmetric = jwt.encode(issuer.claims(), secret, algorithm="HS256", headers={"kid": "symmetric"})
        for token in (symmetric, issuer.sign(issuer.claims(), kid="internal")):
            with pytest.raises(InvalidToken):
                await checked.verify(token)

    asyncio.run(go())


def test_memory_for_tokens_is_bounded(issuer: Issuer, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.tokens._REMEMBERED", 10)
    settings = TokenSettings(service="catalog", **issuer.settings())
    checked = Tokens(settings, None, clock=clock)

    async def go() -> None:
        for _ in range(25):
            await checked.verify(issuer.token(sub=uuid4()))
        assert len(checked._known) <= 10

    asyncio.run(go())


@pytest.mark.parametrize("key", ["changeme", "short-but-random-8f14e", "a" * 40])
def test_a_weak_internal_key_refuses_to_start(key: str) -> None:
    with pytest.raises(ValueError, match="internal_key is"):
        TokenSettings(service="catalog", internal_key=SecretStr(key))
