# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens: what passes, and everything that must not."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from starlette.testclient import TestClient

from auth.keys.seal import first_key, kid_of
from auth.tests.support import SECRET, log_in
from auth.tokens.signer import InvalidToken, Signer

KEY = first_key(SECRET)
KID = kid_of(KEY.public_key())


class OneKey:
    """A ring of one key."""

    async def signing_key(self) -> tuple[str, Ed25519PrivateKey]:
        return KID, KEY

    async def public_key(self, kid: str) -> Ed25519PublicKey | None:
        return KEY.public_key() if kid == KID else None


def signer(**changed: str) -> Signer:
    values = {"issuer": "opsforge-auth", "audience": "opsforge"} | changed
    return Signer(OneKey(), **values, minutes=15)  # type: ignore[arg-type]


def issue(**changed: str) -> str:
    return asyncio.run(signer(**changed).issue(uuid4(), "ada@example.org", ["customer"]))


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changed: object) -> dict[str, object]:
    now = int(time.time())
    return {
        "iss": "opsforge-auth",
        "aud": "opsforge",
        "sub": str(uuid4()),
        "email": "ada@example.org",
        "roles": ["customer"],
        "iat": now,
        "exp": now + 900,
    } | changed


def encode(payload: dict[str, object], key: Any = KEY, algorithm: str = "EdDSA", **headers: object) -> str:
    """Sign, with the real key unless told otherwise, whatever the payload says; it always names the real key."""
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": KID, **headers})


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in claims().items() if key != name}


def forgeries() -> dict[str, str]:
    good = issue()
    head, body, signature = good.split(".")
    public = KEY.public_key().public_bytes_raw()
    stranger = Ed25519PrivateKey.generate()
    now = int(time.time())
    return {
        "empty": "",
        "garbage": "not a token",
        "three-dots": "...",
        "not-base64": "a.b.c",
        "alg-none": f"{part({'alg': 'none', 'typ': 'JWT', 'kid': KID})}.{part(claims())}.",
        "alg-None-with-signature": f"{part({'alg': 'None', 'kid': KID})}.{part(claims())}.{signature}",
        "no-kid": jwt.encode(claims(), KEY, algorithm="EdDSA"),
        "kid-is-a-list": f"{part({'alg': 'EdDSA', 'kid': [KID]})}.{body}.{signature}",
        "kid-of-nobody": encode(claims(), kid="0123456789abcdef"),
        "kid-injection": encode(claims(), kid="' OR '1'='1"),
        "hs256-with-the-public-key": encode(claims(), public, "HS256"),
        "hs256-with-the-secret": encode(claims(), SECRET, "HS256"),
        "other-key": encode(claims(), stranger),
        "other-secret": encode(claims(), first_key(SECRET[::-1])),
        "key-in-the-header": encode(claims(), stranger, jwk={"kty": "OKP", "x": part(public)}),
        "no-signature": f"{head}.{body}.",
        "changed-claims": f"{head}.{part(claims(sub=str(uuid4())))}.{signature}",
        "changed-roles": f"{head}.{part(claims(roles=['admin']))}.{signature}",
        "cut-signature": good[:-4],
        "other-issuer": issue(issuer="elsewhere"),
        "other-audience": issue(audience="elsewhere"),
        "expired": encode(claims(iat=now - 1000, exp=now - 60)),
        "from-the-future": encode(claims(iat=now + 600, exp=now + 1200)),
        "no-exp": encode(without("exp")),
        "no-sub": encode(without("sub")),
        "sub-is-no-uuid": encode(claims(sub="admin")),
        "exp-is-text": encode(claims(exp="never")),
        "roles-is-a-number": encode(claims(roles=1)),
    }


@pytest.mark.parametrize("name", forgeries())
def test_forged_tokens_are_refused(name: str) -> None:
    with pytest.raises(InvalidToken, match="expired" if name == "expired" else "not valid"):
        asyncio.run(signer().verify(forgeries()[name]))


def test_a_token_says_who_and_until_when() -> None:
    found = asyncio.run(signer().verify(issue()))
    assert (found.email, found.roles) == ("ada@example.org", ["customer"])
    assert found.exp - found.iat == 900


def test_a_token_of_a_version_without_roles_is_a_customers() -> None:
    old = {name: value for name, value in claims().items() if name not in ("email", "roles")}
    assert asyncio.run(signer().verify(encode(old))).roles == ["customer"]


def test_other_services_accept_what_auth_issues_and_tests_issue_the_same(
    client: TestClient, user: dict[str, str]
) -> None:
    from kit.testing import Issuer
    from kit.tokens import Tokens, TokenSettings

    token = str(log_in(client, user)["access_token"])
    jwks = client.get("/.well-known/jwks.json").text
    caller = asyncio.run(Tokens(TokenSettings(service="catalog", jwks=jwks), None).verify(token))
    me = client.get("/me", headers={"Authorization": f"Bearer {token}"}).json()
    assert (str(caller.id), caller.email, caller.roles) == (me["id"], user["email"], frozenset({"customer"}))

    def shape(text: str) -> dict[str, type]:
        decoded = jwt.decode(text, options={"verify_signature": False})
        return {name: type(value) for name, value in decoded.items()}

    stand_in = Issuer().token(sub=uuid4(), email=user["email"], roles=["customer"])
    assert shape(token) == shape(stand_in)
    assert set(jwt.get_unverified_header(token)) == set(jwt.get_unverified_header(stand_in))


def test_validate_over_http(client: TestClient, token: str) -> None:
    answer = client.post("/validate", json={"token": token})
    assert answer.status_code == 200
    assert set(answer.json()) == {"sub", "email", "roles", "iat", "exp"}


def as_header(client: TestClient, token: str) -> Any:
    return client.get("/me", headers={"Authorization": f"Bearer {token}"})


def as_body(client: TestClient, token: str) -> Any:
    return client.post("/validate", json={"token": token})


@pytest.mark.parametrize("ask", [as_header, as_body])
@pytest.mark.parametrize("name", [name for name in forgeries() if name != "empty"])
def test_forged_tokens_over_http(client: TestClient, ask: Callable[..., Any], name: str) -> None:
    answer = ask(client, forgeries()[name])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("ask", [as_header, as_body])
def test_a_refresh_token_is_no_access_token(client: TestClient, user: dict[str, str], ask: Callable[..., Any]) -> None:
    assert ask(client, log_in(client, user)["refresh_token"]).status_code == 401


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "token"])
def test_me_without_a_token(client: TestClient, header: str | None) -> None:
    assert client.get("/me", headers={"Authorization": header} if header is not None else {}).status_code == 401


@pytest.mark.parametrize("body", [{}, {"token": 1}, {"token": None}, {"token": ""}, {"token": "x" * 5000}, [], "token"])
def test_wrong_types_to_validate(client: TestClient, body: object) -> None:
    assert client.post("/validate", json=body).status_code == 422
