# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: where they come from and what they refuse."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from kit import Settings, load_settings
from kit.settings import is_placeholder


class WithSecret(Settings):
    """A service with a secret."""

    service: str = "kit-test"
    key: SecretStr


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "  ",
        "changeme",
        "CHANGE_ME!",
        "change-this",
        "secret",
        "password123",
        "<your key>",
        "${KEY}",
        "{{ key }}",
        "xxxx",
    ],
)
def test_placeholders_refuse_to_start(
    secret: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_placeholder(secret)
    monkeypatch.setenv("OPSFORGE_KEY", secret)
    with pytest.raises(SystemExit) as exit_info:
        load_settings(WithSecret)
    assert exit_info.value.code == 2
    assert "key is a placeholder" in capsys.readouterr().err


@pytest.mark.parametrize("secret", ["8f14e45fceea167a5a36dedd4bea2543", "secretary-bird-42", "my-password-is-long"])
def test_real_secrets_pass(secret: str) -> None:
    assert WithSecret(key=SecretStr(secret)).key.get_secret_value() == secret


def test_mistakes_are_named_by_their_variable_and_without_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPSFORGE_PORT", "hunter2")
    monkeypatch.setenv("OPSFORGE_ROOT_PATH", "auth/")
    with pytest.raises(SystemExit):
        load_settings(WithSecret)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["OPSFORGE_ROOT_PATH", "OPSFORGE_PORT", "OPSFORGE_KEY"]
    assert "hunter2" not in "".join(lines)
