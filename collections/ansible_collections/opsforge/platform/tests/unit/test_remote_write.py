# SPDX-License-Identifier: GPL-3.0-or-later
"""What a remote store may not be told, and that no complaint tells a secret."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._remote_write import complaints, config, secrets

URL = "https://mimir.example.org/api/v1/push"


@pytest.mark.parametrize(
    "store, words",
    [
        (
            {"url": "https://us:hush@mimir.example.org/push"},
            "url must begin with http:// or https:// and hold no log-in",
        ),
        ({"url": "mimir.example.org"}, "url must begin with http://"),
        ({"url": URL, "username": "us"}, "username and password need each other"),
        ({"url": URL, "password": "hush"}, "username and password need each other"),
        ({"url": URL, "username": "us", "password": "hush", "token": "hush"}, "either a password or a token"),
        ({"url": URL, "settings": {"basic_auth": {"password": "hush"}}}, "settings can't hold basic_auth: a log-in is"),
        ({"url": URL, "settings": {"url": URL}}, "settings can't hold url"),
        ({"url": URL, "settings": {"bearer_token": "hush"}}, "settings can't hold bearer_token: a log-in is"),
        (
            {"url": URL, "settings": {"http_headers": {"X-Key": {"values": ["hush"]}}}},
            "settings can't hold http_headers",
        ),
        ({"url": URL, "settings": {"tls_config": {"key": "hush"}}}, "settings can't hold tls_config.key: name a file"),
        ({"url": URL, "settings": {"proxy_url": "http://us:hush@proxy"}}, "settings can't hold a URL with a log-in"),
    ],
)
def test_refused(store: dict[str, Any], words: str) -> None:
    (told,) = complaints([{"url": URL}, store])
    assert told.startswith("Store 2 of monitoring_remote_write: ") and words in told and "hush" not in told


def test_options_that_were_not_given_are_none() -> None:
    """As Ansible fills in what an entry leaves out."""
    store = {"url": URL, "username": None, "password": None, "token": None, "settings": None}
    assert complaints([store]) == [] and config([store], "/secrets") == [{"url": URL}] and secrets([store]) == {}


def test_no_store_finds_the_secret_of_another_where_its_own_was() -> None:
    """ConfigMap and Secret arrive at different moments."""
    first, second = ({"url": f"https://{name}.example.org", "token": name} for name in ("a", "b"))
    before, after = secrets([first, second]), secrets([second])
    assert after.items() < before.items()
    (told,) = config([second], "/secrets")
    assert told["authorization"]["credentials_file"] == f"/secrets/{[*after][0]}"
