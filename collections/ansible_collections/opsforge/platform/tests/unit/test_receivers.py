# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may be told of alerts and how, and that no complaint tells a secret."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._receivers import complaints, files, receivers

URL = "https://pager.example.org/hook"


@pytest.mark.parametrize(
    "webhook, words",
    [
        ({"url": "https://us:hush@pager.example.org"}, "url must begin with http:// or https:// and hold no log-in"),
        ({"url": "pager.example.org"}, "url must begin with http://"),
        ({}, "url must begin with http://"),
        ("https://pager.example.org/hush", "it is a dictionary with a url"),
        ({"url": URL, "username": "us"}, "username and password need each other"),
        ({"url": URL, "password": "hush"}, "username and password need each other"),
        ({"url": URL, "username": "us", "password": "hush", "token": "hush"}, "either a password or a token"),
    ],
)
def test_a_webhook_that_cannot_be_called_is_refused(webhook: Any, words: str) -> None:
    (told,) = complaints({"api": {"url": URL}, "sre": webhook}, {})
    assert told.startswith("sre of monitoring_webhooks: ") and words in told and "hush" not in told


def test_a_receiver_that_no_alert_goes_to_is_refused() -> None:
    assert "monitoring_webhooks names critical, which no alert goes to" in complaints({"critical": {"url": URL}}, {})[0]
    assert "monitoring_receivers names pager, which no alert goes to" in complaints({}, {"pager": {}})[0]


@pytest.mark.parametrize("own", [["email"], {"name": "other"}, {"email_configs": {"to": "us@example.org"}}])
def test_a_receiver_holds_what_alertmanager_knows(own: Any) -> None:
    (told,) = complaints({}, {"sre": own})
    assert told.startswith("sre of monitoring_receivers: it holds lists of Alertmanager such as email_configs")


def test_teams_and_the_dead_man_are_always_there_and_a_category_where_somebody_listens() -> None:
    assert [one["name"] for one in receivers({}, {}, "/f")] == ["sre", "api", "worker", "deadman"]
    more = receivers({"business": {"url": URL}}, {"infrastructure": {"email_configs": []}}, "/f")
    assert [one["name"] for one in more[4:]] == ["infrastructure", "business"]


def test_a_webhook_stands_beside_the_site_s_own_settings() -> None:
    mail, hook = {"to": "us@example.org"}, {"url": "https://other.example.org"}
    own = {"sre": {"email_configs": [mail], "webhook_configs": [hook]}}
    assert receivers({"sre": {"url": URL}}, own, "/f")[0] == {
        "name": "sre",
        "email_configs": [mail],
        "webhook_configs": [{"url": URL, "send_resolved": True}, hook],
    }


def test_the_dead_man_never_hears_of_an_end() -> None:
    found = {one["name"]: one for one in receivers({"deadman": {"url": URL}}, {}, "/f")}
    assert found["deadman"]["webhook_configs"] == [{"url": URL, "send_resolved": False}]


def test_a_password_or_token_is_in_a_file() -> None:
    hooks = {"sre": {"url": URL, "token": "hush"}, "api": {"url": URL, "username": "us", "password": "silence"}}
    found = {one["name"]: one for one in receivers(hooks, {}, "/f")}
    (sre,), (api,) = found["sre"]["webhook_configs"], found["api"]["webhook_configs"]
    assert sre["http_config"] == {"authorization": {"credentials_file": "/f/sre"}}
    assert api["http_config"] == {"basic_auth": {"username": "us", "password_file": "/f/api"}}
    assert {name: b64decode(text) for name, text in files(hooks).items()} == {"sre": b"hush", "api": b"silence"}


def test_options_that_were_not_given_are_none() -> None:
    """As Ansible fills in what an entry leaves out."""
    hooks = {"sre": {"url": URL, "username": None, "password": None, "token": None}}
    assert complaints(hooks, {}) == [] and files(hooks) == {}
    assert receivers(hooks, {}, "/f")[0]["webhook_configs"] == [{"url": URL, "send_resolved": True}]


def test_who_must_be_told_has_a_webhook_or_settings_of_their_own() -> None:
    assert complaints({"sre": {"url": URL}}, {"deadman": {}}, ["sre", "deadman"]) == []
    (told,) = complaints({"api": {"url": URL}}, {}, ["sre", "deadman"])
    assert "would be told to nobody" in told and "must have sre and deadman" in told
