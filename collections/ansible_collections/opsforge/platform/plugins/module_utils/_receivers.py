# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told of alerts: Alertmanager's receivers, made of a site's webhooks and of receivers of its own.

Passwords and tokens are in files beside the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _logins

TEAMS = ("sre", "api", "worker")
DEADMAN = "deadman"
# The kinds of alerts. A receiver of such a name hears of them beside the team that they belong to.
CATEGORIES = ("service_health", "performance", "infrastructure", "business", "monitoring")
NAMES = (*TEAMS, DEADMAN, *CATEGORIES)

_CONFIGS = "_configs"
_HOOKS = "webhook_configs"

Webhook = Mapping[str, Any]
Receiver = Mapping[str, Any]


def receivers(webhooks: Mapping[str, Webhook], own: Mapping[str, Receiver], folder: str) -> list[dict[str, Any]]:
    """Return the receivers of Alertmanager: teams and dead man always, a category where somebody listens.

    There must be no complaints().

    :param webhooks: a webhook by the receiver's name: `url`; for a log-in `username` with `password`, or `token`.
    :param own: Alertmanager's own settings of a receiver by its name, beside its webhook.
    :param folder: where the files() are.
    """
    wanted = [name for name in NAMES if name not in CATEGORIES or name in webhooks or name in own]
    return [_receiver(name, webhooks.get(name), own.get(name) or {}, folder) for name in wanted]


def files(webhooks: Mapping[str, Webhook]) -> dict[str, str]:
    """Return the content of the files with passwords and tokens by their names, as a Secret has it."""
    return {name: secret for name, webhook in webhooks.items() if (secret := _logins.secret(webhook))}


def complaints(webhooks: Mapping[str, Any], own: Mapping[str, Any], required: Sequence[str] = ()) -> list[str]:
    """Return one sentence for each mistake, none if Alertmanager can be asked. None of them tells a secret.

    :param required: names of receivers that must not be missing.
    """
    known = f"the names are {', '.join(NAMES[:-1])} and {NAMES[-1]}"
    told = [
        f"{option} names {name}, which no alert goes to: {known}."
        for option, given in (("monitoring_webhooks", webhooks), ("monitoring_receivers", own))
        for name in given
        if name not in NAMES
    ]
    told += [
        f"{name} of monitoring_webhooks: {mistake}."
        for name, webhook in webhooks.items()
        for mistake in _mistakes(webhook)
    ]
    told += [
        f"{name} of monitoring_receivers: it holds lists of Alertmanager such as email_configs, and nothing else."
        for name, receiver in own.items()
        if not isinstance(receiver, Mapping)
        or not all(key.endswith(_CONFIGS) and isinstance(value, list) for key, value in receiver.items())
    ]
    if unheard := [name for name in required if name not in webhooks and name not in own]:
        told.append(
            "Alerts of this environment would be told to nobody: monitoring_webhooks or monitoring_receivers must have"
            f" {' and '.join(unheard)} (monitoring_receivers_required)."
        )
    return told


def _receiver(name: str, webhook: Webhook | None, own: Receiver, folder: str) -> dict[str, Any]:
    hooks = [_hook(name, webhook, folder)] if webhook else []
    found = {"name": name, **own}
    if hooks:
        found[_HOOKS] = [*hooks, *own.get(_HOOKS, [])]
    return found


def _hook(name: str, webhook: Webhook, folder: str) -> dict[str, Any]:
    login = _logins.settings(webhook, f"{folder}/{name}")
    return {
        "url": webhook["url"],
        # That a dead man's switch is "resolved" would be taken for a sign of life.
        "send_resolved": name != DEADMAN,
        **({"http_config": login} if login else {}),
    }


def _mistakes(webhook: Any) -> Iterator[str]:
    if not isinstance(webhook, Mapping):
        yield "it is a dictionary with a url"
        return
    yield from _logins.mistakes(webhook)
