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
    ],
)
def test_refused(store: dict[str, Any], words: str) -> None:
    (told,) = complaints([{"url": URL}, store])
    assert told.startswith("Store 2 of monitoring_remote_write: ") and words in told and "hush" not in told


def test_options_that_were_not_given_are_none() -> None:
    """As Ansible fills in what an entry leaves out."""
    store = {"url": URL, "username": None, "password": None, "token": None, "settings": None}
    assert complaints([store]) == [] and config([store], "/secrets") == [{"url": URL}] and secrets([store]) == {}
