# SPDX-License-Identifier: GPL-3.0-or-later
"""The alerts that fire at a moment, past ones too: Prometheus records which, and tells more of those that still do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._series import Source

_RANKS = {"critical": 0, "warning": 1}
_FIRING, _SINCE = 'ALERTS{alertstate="firing"}', "ALERTS_FOR_STATE"
# Which metric it is, and not which alert.
_OTHER = ("__name__", "alertstate")


@dataclass(frozen=True)
class Alert:
    """One that fires: since when (seconds since the epoch), and what its rule says of it, if that is known."""

    labels: Mapping[str, str]
    since: float | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        """How bad it is; `none` for the dead man's switch."""
        return self.labels.get("severity", "")

    @property
    def rank(self) -> tuple[int, str, str]:
        """What to sort by: the worst first."""
        return (
            _RANKS.get(self.severity, len(_RANKS)),
            self.labels.get("alertname", ""),
            str(sorted(self.labels.items())),
        )


def firing(source: Source, moment: float) -> list[Alert]:
    """What fires at the moment, worst first, without the dead man's switch. Raises Unreachable."""
    # All of them: with a limit it would be chance whether the worst is among those that come.
    found = [_plain(series.labels) for series in source.at(_FIRING, moment, limit=None).series]
    begun = {_key(_plain(series.labels)): series.last for series in source.at(_SINCE, moment, limit=None).series}
    # What a rule says today may hold other numbers: it is told of the same firing only, not of an earlier one.
    words = {
        (_key(_texts(one.get("labels"))), _second(one.get("activeAt"))): _texts(one.get("annotations"))
        for one in source.alerts()
    }
    alerts = []
    for labels in found:
        key = _key(labels)
        since = begun.get(key)
        alerts.append(Alert(labels, since, words.get((key, since), {})))
    return sorted((alert for alert in alerts if alert.severity != "none"), key=lambda alert: alert.rank)


def _plain(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key not in _OTHER}


def _key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def _second(moment: Any) -> float | None:
    """A moment as Prometheus records it: in whole seconds since the epoch."""
    try:
        return float(int(datetime.fromisoformat(moment).timestamp()))
    except (TypeError, ValueError, OverflowError):
        return None


def _texts(given: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in given.items()} if isinstance(given, dict) else {}
