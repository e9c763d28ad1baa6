# SPDX-License-Identifier: GPL-3.0-or-later
"""Secret values stay out of everything that is shown, and other words stay in."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._diff import show
from ansible_collections.opsforge.platform.plugins.module_utils._mask import (
    CHANGED,
    HIDDEN,
    mask,
    mask_text,
    redact,
    secret_values,
)


def secret(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data}


def test_a_secret_says_which_values_change() -> None:
    masked = mask(secret(same="YQ==", new="Yg==", other="Yw=="), secret(same="YQ==", other="ZA=="))
    assert masked["data"] == {"same": HIDDEN, "new": HIDDEN, "other": CHANGED}


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "adminPassword", "token", "api_key", "apiKey", "client-secret", "privateKey", "dsn"],
)
def test_values_named_like_secrets_are_hidden(name: str) -> None:
    for obj in ({"data": {name: "value"}}, {"env": [{"name": name, "value": "value"}]}):
        assert "value': 'value'" not in str(mask(obj)) and f"'{name}': 'value'" not in str(mask(obj))


@pytest.mark.parametrize("name", ["secretName", "tokenPath", "password_file", "key", "name", "passwordless", "mode"])
def test_names_that_only_point_at_secrets_are_shown(name: str) -> None:
    assert mask({"spec": {name: "value"}}) == {"spec": {name: "value"}}


def test_what_is_no_text_is_shown() -> None:
    obj = {"spec": {"automountServiceAccountToken": False, "token": 3, "secret": {"secretName": "s"}}}
    assert mask(obj) == obj


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mode: fast\npassword: abc def\nlevel: 1", f"mode: fast\npassword: {HIDDEN}\nlevel: 1"),
        ('{"api_key": "abc"}', f'{{"api_key": {HIDDEN}'),
        ("SMTP_TOKEN=abc", f"SMTP_TOKEN={HIDDEN}"),
        ("postgres://app:abc@db:5432/x", f"postgres://app:{HIDDEN}@db:5432/x"),
        ("redis://:abc@cache", f"redis://:{HIDDEN}@cache"),
        ("http://web:8000/path", "http://web:8000/path"),
        ("password_file: /etc/p", "password_file: /etc/p"),
    ],
)
def test_secrets_in_texts_are_hidden(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize("word", ["x", "a.", "token", "x://", "password ", "a:"])
def test_a_long_word_costs_no_more_than_its_length(word: str) -> None:
    """Else this would not end."""
    text = word * 300_000
    assert mask_text(text) == text


def test_kubectls_copy_of_the_object_is_hidden() -> None:
    name = "kubectl.kubernetes.io/last-applied-configuration"
    assert mask({"metadata": {"annotations": {name: "{}"}}})["metadata"]["annotations"][name] == HIDDEN


def test_messages_lose_values_coded_and_plain_and_keep_short_words() -> None:
    coded = base64.b64encode(b"hunter2-hunter2").decode()
    values = secret_values([secret(password=coded, user=base64.b64encode(b"app").decode())])
    assert redact(f"bad: hunter2-hunter2 {coded} app", values) == f"bad: {HIDDEN} {HIDDEN} app"


def test_a_diff_shows_state_only() -> None:
    before = {
        "kind": "ConfigMap",
        "metadata": {"name": "a", "resourceVersion": "1", "managedFields": [], "uid": "u", "labels": {"x": "y"}},
        "data": {"a": "1"},
        "status": {"x": 1},
    }
    diff = show("ConfigMap a", before, {**before, "data": {"a": "2"}})
    assert diff["before"] == "data:\n  a: '1'\nkind: ConfigMap\nmetadata:\n  labels:\n    x: y\n  name: a\n"
    assert diff["after"] == diff["before"].replace("'1'", "'2'")
    assert show("ConfigMap a", None, before)["before"] == ""
