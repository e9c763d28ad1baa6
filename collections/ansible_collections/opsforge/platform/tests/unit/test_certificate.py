# SPDX-License-Identifier: GPL-3.0-or-later
"""The entrance's certificate: made once, renewed in time, always one that clients of the authority accept."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._certificate import (
    Pair,
    Wish,
    ensure,
    from_secret,
    issue,
    make_authority,
    plan,
    to_secret,
)
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
WISH = Wish("gateway", "platform-tls", "platform-ca", ["localhost", "127.0.0.1"], days=397, renew_days=30)


class Store:
    """Secrets by name."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        return self.objects.get(f"{namespace}/{name}")

    def apply(self, obj: dict[str, Any], *, manager: str, force: bool = False, dry_run: bool = False) -> None:
        self.objects[f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"] = obj


def pair(store: Store, name: str) -> Pair:
    found = from_secret(store.objects[f"gateway/{name}"])
    assert found
    return found


def later(days: int) -> datetime.datetime:
    return NOW + datetime.timedelta(days=days)


@pytest.fixture(scope="module")
def authority() -> Pair:
    return make_authority(NOW)


@pytest.mark.parametrize(
    "days, hostnames, why",
    [
        (0, ["localhost", "127.0.0.1"], None),
        (0, ["127.0.0.1", "localhost"], None),
        (0, ["LocalHost", "127.0.0.1"], None),
        (0, ["localhost"], "the hostnames differ"),
        (0, ["localhost", "127.0.0.1", "::1"], "the hostnames differ"),
        (366, ["localhost", "127.0.0.1"], None),
        (367, ["localhost", "127.0.0.1"], "the certificate expires on 2027-02-02"),
        (3700, ["localhost", "127.0.0.1"], "the authority expires on 2035-12-30"),
    ],
)
def test_plan(authority: Pair, days: int, hostnames: list[str], why: str | None) -> None:
    current = issue(authority, WISH.hostnames, WISH.days, NOW)
    wish = Wish(WISH.namespace, WISH.name, WISH.authority, hostnames, WISH.days, WISH.renew_days)
    assert plan(wish, authority, current, later(days)).certificate == why


def test_plan_replaces_what_another_authority_signed(authority: Pair) -> None:
    current = issue(make_authority(NOW), WISH.hostnames, WISH.days, NOW)
    assert plan(WISH, authority, current, NOW).certificate == "another authority signed the certificate"


def test_made_once_and_then_left_alone() -> None:
    store = Store()
    first = ensure(store, WISH, NOW)
    assert (first["changed"], first["reason"]) == (True, "there is no authority yet")
    made = dict(store.objects)
    second = ensure(store, WISH, later(1))
    assert (second["changed"], second["reason"]) == (False, "")
    assert second["ca_certificate"] == first["ca_certificate"] == pair(store, "platform-ca").pem
    assert second["diff"]["before"] == second["diff"]["after"]
    assert store.objects == made


def test_renewal_keeps_the_authority_that_clients_trust() -> None:
    store = Store()
    ensure(store, WISH, NOW)
    before = pair(store, "platform-ca").pem
    renewed = ensure(store, WISH, later(380))
    assert renewed["changed"]
    assert renewed["ca_certificate"] == before
    assert pair(store, "platform-tls").expires == later(380 + 397)


def test_check_mode_writes_nothing() -> None:
    store = Store()
    result = ensure(store, WISH, NOW, check=True)
    assert (result["changed"], result["ca_certificate"], store.objects) == (True, "", {})
    assert result["diff"]["after"]["hostnames"] == ["127.0.0.1", "localhost"]


def test_never_outlives_its_authority(authority: Pair) -> None:
    assert issue(authority, ["localhost"], 397, later(3500)).expires <= authority.expires


@pytest.mark.parametrize("hostnames", [[], ["schön.example"]])
def test_refuses_what_no_certificate_can_hold(authority: Pair, hostnames: list[str]) -> None:
    with pytest.raises(Invalid):
        issue(authority, hostnames, 30, NOW)


@pytest.mark.parametrize("damage", [{"data": None}, {"data": {}}, {"data": {"tls.key": "AA==", "tls.crt": "AA=="}}])
def test_refuses_a_secret_of_someone_else(authority: Pair, damage: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="Secret gateway/platform-ca"):
        from_secret(to_secret("gateway", "platform-ca", authority, authority) | damage)


@pytest.mark.parametrize("hostname", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_accepts_it(tmp_path: Path, hostname: str) -> None:
    """A real handshake under Python's strict verification, by name and by address."""
    now = datetime.datetime.now(datetime.UTC)
    authority = make_authority(now)
    server_pair = issue(authority, WISH.hostnames, 30, now)
    (tmp_path / "server.pem").write_text(server_pair.key_pem + server_pair.pem, encoding="utf-8")
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(tmp_path / "server.pem")
    client_context = ssl.create_default_context(cadata=authority.pem)
    client_context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()
    server = threading.Thread(target=lambda: server_context.wrap_socket(theirs, server_side=True).close())
    server.start()
    with client_context.wrap_socket(ours, server_hostname=hostname) as client:
        assert client.version() == "TLSv1.3"
    server.join(5)
