# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-in and the tokens it gives: what passes, and everything that must not."""

from __future__ import annotations

import base64
import json
import time
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from auth.settings import Settings
from auth.tokens.signer import InvalidToken, Signer

SECRET = "0f9d1c" * 8 + "abcdefgh2345"


def signer(secret: str = SECRET, **changed: str) -> Signer:
    return Signer(secret, **({"issuer": "opsforge-auth", "audience": "opsforge"} | changed), minutes=15)


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changed: object) -> dict[str, object]:
    now = int(time.time())
    return {
        "iss": "opsforge-auth",
        "aud": "opsforge",
        "sub": str(uuid4()),
        "iat": now,
        "exp": now + 900,
    } | changed


def sign(payload: dict[str, object]) -> str:
    """Sign with the real key, whatever the payload says."""
    return jwt.encode(payload, signer()._key, algorithm="EdDSA")


def forgeries() -> dict[str, str]:
    good = signer().issue(uuid4())
    head, body, signature = good.split(".")
    public = signer()._public.public_bytes_raw()
    now = int(time.time())
    return {
        "empty": "",
        "garbage": "not a token",
        "three-dots": "...",
        "not-base64": "a.b.c",
        "alg-none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims())}.",
        "alg-None-with-signature": f"{part({'alg': 'None'})}.{part(claims())}.{signature}",
        "hs256-with-the-public-key": jwt.encode(claims(), public, algorithm="HS256"),
        "hs256-with-the-secret": jwt.encode(claims(), SECRET, algorithm="HS256"),
        "other-key": jwt.encode(claims(), Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        "other-secret": signer(SECRET[::-1]).issue(uuid4()),
        "key-in-the-header": jwt.encode(
            claims(),
            Ed25519PrivateKey.generate(),
            algorithm="EdDSA",
            headers={"jwk": {"kty": "OKP", "x": part(public)}},
        ),
        "no-signature": f"{head}.{body}.",
        "changed-claims": f"{head}.{part(claims(sub=str(uuid4())))}.{signature}",
        "cut-signature": good[:-4],
        "other-issuer": signer(issuer="elsewhere").issue(uuid4()),
        "other-audience": signer(audience="elsewhere").issue(uuid4()),
        "expired": sign(claims(iat=now - 1000, exp=now - 60)),
        "from-the-future": sign(claims(iat=now + 600, exp=now + 1200)),
        "no-exp": sign({name: value for name, value in claims().items() if name != "exp"}),
        "no-sub": sign({name: value for name, value in claims().items() if name != "sub"}),
        "sub-is-no-uuid": sign(claims(sub="admin")),
        "exp-is-text": sign(claims(exp="never")),
    }


@pytest.mark.parametrize("name", forgeries())
def test_forged_tokens_are_refused(name: str) -> None:
    with pytest.raises(InvalidToken, match="expired" if name == "expired" else "not valid"):
        signer().verify(forgeries()[name])


def test_a_token_says_who_and_until_when() -> None:
    user = uuid4()
    found = signer().verify(signer().issue(user))
    assert found.sub == user
    assert found.exp - found.iat == 900


def test_the_published_key_is_enough_to_check_a_token() -> None:
    token = signer().issue(uuid4())
    (key,) = signer().jwks()["keys"]
    assert "d" not in key  # the private half stays
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    assert jwt.decode(token, jwt.PyJWK(key), algorithms=["EdDSA"], audience="opsforge")


def test_validate_over_http(client: TestClient, token: str) -> None:
    answer = client.post("/validate", json={"token": token})
    assert answer.status_code == 200
    assert set(answer.json()) == {"sub", "iat", "exp"}


@pytest.mark.parametrize("name", ["alg-none", "expired", "other-key", "garbage", "changed-claims"])
def test_forged_tokens_over_http(client: TestClient, settings: Settings, name: str) -> None:
    forged = forgeries()[name]
    for answer in (
        client.post("/validate", json={"token": forged}),
        client.get("/me", headers={"Authorization": f"Bearer {forged}"}),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "token"])
def test_me_without_a_token(client: TestClient, header: str | None) -> None:
    assert client.get("/me", headers={"Authorization": header} if header is not None else {}).status_code == 401


@pytest.mark.parametrize("body", [{}, {"token": 1}, {"token": None}, {"token": ""}, {"token": "x" * 5000}, [], "token"])
def test_wrong_types_to_validate(client: TestClient, body: object) -> None:
    assert client.post("/validate", json=body).status_code == 422
