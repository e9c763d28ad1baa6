# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests of services: tokens that pass with no auth running, and whether a database is what the models say."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import httpx2
import jwt
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from pydantic import SecretStr

from kit.clients import service_token


class Issuer:
    """Stands in for auth: a key pair of its own. `Settings(**issuer.settings())` makes an app trust it."""

    def __init__(self, *, issuer: str = "opsforge-auth", audience: str = "opsforge") -> None:
        self.key = Ed25519PrivateKey.generate()
        self.kid = secrets.token_hex(8)
        self.internal_key = SecretStr(secrets.token_hex(32))
        self._issuer = issuer
        self._audience = audience

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set."""
        key = OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": self.kid, "use": "sig", "alg": "EdDSA"}]}

    def settings(self) -> dict[str, Any]:
        """Return the settings of a service that trusts this issuer, and whoever has `internal_key`."""
        return {"jwks": json.dumps(self.jwks()), "internal_key": self.internal_key}

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return the claims of a customer's token, valid for 15 minutes, with changes."""
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(uuid4()),
            "iat": now,
            "exp": now + 900,
            "jti": uuid4().hex,
            "email": "ada@example.org",
            "roles": ["customer"],
        }
        return claims | changed

    def token(
        self, *, sub: UUID | str | None = None, roles: Iterable[str] = ("customer",), email: str = "ada@example.org"
    ) -> str:
        """Return a user's access token."""
        return self.sign(self.claims(sub=str(sub or uuid4()), roles=list(roles), email=email))

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        """Sign any claims with the real key."""
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers={"kid": self.kid, **headers})

    def headers(self, **token: Any) -> dict[str, str]:
        """Return the Authorization header of a user, given as to `token`."""
        return {"Authorization": f"Bearer {self.token(**token)}"}

    def service_token(self, key: SecretStr | str | None = None, *, iss: str, aud: str) -> str:
        """Return a token of the service `iss` for the service `aud`, signed with its internal key."""
        secret = self.internal_key if key is None else SecretStr(key) if isinstance(key, str) else key
        return service_token(secret, caller=iss, callee=aud, now=int(time.time()))

    def service_headers(self, *, iss: str, aud: str) -> dict[str, str]:
        """Return the Authorization header of the service `iss` for the service `aud`."""
        return {"Authorization": f"Bearer {self.service_token(iss=iss, aud=aud)}"}


def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait for what other threads or processes do; fails when it is still not so after that long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.01)  # two cores are few for a busy loop beside what it waits for


def check_contract(
    client: httpx2.Client, *, headers: Mapping[str, str] | None = None, examples: int = 30, skip: Iterable[str] = ()
) -> set[str]:
    """Send every operation of an app's OpenAPI what fits and what does not, with `headers` and without.

    Fails on a 5xx, on an undocumented status or content type, and on an answer that is not of its schema. `client` is
    a TestClient in its `with` block, or one of a real process. `skip` names operations ("POST /logout"); returns the
    names of those that were tried. The same code gets the same examples.
    """
    import schemathesis
    from schemathesis import GenerationMode

    document = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    tried = set()
    for found in document.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # raises what is wrong with the document
        if operation.label in set(skip):
            continue
        tried.add(operation.label)
        for mode in GenerationMode:
            _try_operation(client, operation.as_strategy(generation_mode=mode), dict(headers or {}), examples)
            _try_operation(client, operation.as_strategy(generation_mode=mode), {}, 5)
    return tried


def _try_operation(client: httpx2.Client, cases: Any, headers: dict[str, str], examples: int) -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable
    from requests import Request
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    wanted = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]

    @given(case=cases)
    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        ready = Request(**case.as_transport_kwargs(base_url=str(client.base_url), headers=headers)).prepare()
        answer = client.request(ready.method or "", ready.url or "", content=ready.body, headers=dict(ready.headers))
        case.validate_response(answer, checks=wanted)

    with suppress(Unsatisfiable):  # what takes no input can't be given a wrong one
        check()


def schema_differences(url: str, package: str) -> list[Any]:
    """Return what the models of `package` and the (migrated) database at `url` do not share; empty is well."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import MetaData, create_engine, inspect

    from kit.database import Base, driver_url

    with create_engine(driver_url(url)).connect() as connection:
        present = set(inspect(connection).get_table_names())
        wanted = MetaData()
        for mapper in Base.registry.mappers:
            home = mapper.class_.__module__.partition(".")[0]
            # What the kit brings (the outbox) is there when a migration of the service asked for it.
            for table in mapper.tables:
                if home == package or (home == "kit" and table.name in present):
                    table.to_metadata(wanted)  # type: ignore[attr-defined]
        ours = {"include_name": lambda name, kind, _: kind != "table" or name != "alembic_contracts"}
        found: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=ours), wanted)
    return found


_NARROWS = re.compile(
    r"\bDROP (TABLE|COLUMN|TYPE|VIEW|SEQUENCE|FUNCTION|DEFAULT)\b|\bRENAME\b|\bSET NOT NULL\b|\bTRUNCATE\b|\bTYPE \w+"
    r"|\bADD (CONSTRAINT|CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY)\b|^CREATE UNIQUE INDEX\b"
    r"|\bADD COLUMN (?!.*\bDEFAULT\b).*\bNOT NULL\b"
)
_TABLE = re.compile(
    r"^(?:CREATE(?: UNLOGGED)?|ALTER|DROP) TABLE (?:IF (?:NOT )?EXISTS )?(?:ONLY )?(\S+)|\bINDEX \S+ ON (\S+)"
)


def hasty_revisions(url: str, package: str) -> list[str]:
    """Run the migrations of `package` on the empty database at `url`; return what takes away and does not say so.

    That is what narrows a table of an earlier revision, by the statements that the database gets. A revision that says
    its phase itself is believed.
    """
    from sqlalchemy import Engine, event

    from kit.migrations import migrate, scripts_of

    sent: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(" ".join(statement.split()))

    found = []
    event.listen(Engine, "before_cursor_execute", listen)
    try:
        for script in scripts_of(package):
            sent.clear()
            migrate(url, package, to=script.revision, contract=True)
            if not hasattr(script.module, "phase"):
                found += [f"{script.revision}: {statement}" for statement in _narrowing(sent)]
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    return found


def _narrowing(statements: Iterable[str]) -> Iterable[str]:
    """What of one revision's statements narrows a table that it did not make itself."""
    made = set()
    for statement in (part.strip() for text in statements for part in text.split(";")):
        named = _TABLE.search(statement)
        table = (named[1] or named[2]).split("(")[0] if named else None
        if statement.startswith("CREATE") and " TABLE " in statement:
            made.add(table)
        elif table not in made and _NARROWS.search(statement):
            yield statement


def tables(url: str) -> set[str]:
    """Names of the tables of a database."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows}
