# SPDX-License-Identifier: GPL-3.0-or-later
"""When traffic moved: read from what Prometheus recorded of where it was."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.opsforge.platform.plugins.module_utils._series import Series, Window


@dataclass(frozen=True, order=True)
class Move:
    """Traffic of a service came to this slot, between this moment (seconds since the epoch) and the one before it."""

    time: float
    service: str
    slot: str
    version: str


def query(namespace: str, chosen: str = ".+", *, offset: str = "") -> str:
    """PromQL for where traffic is, or was: one series for each service (all that match `chosen`), slot and version."""
    where = f'namespace_service:traffic:info{{namespace="{namespace}",service=~"{chosen}"}}'
    return f"max by (service, slot, version) ({where}{f' offset {offset}' if offset else ''})"


def moves(found: Iterable[Series], window: Window) -> list[Move]:
    """The moments at which a service's slot or version is another one than at its last known moment, oldest first."""
    services: dict[str, list[Series]] = {}
    for series in found:
        services.setdefault(series.labels.get("service", ""), []).append(series)
    seen: list[Move] = []
    for service, states in services.items():
        last: tuple[str, str] | None = None
        before: set[tuple[str, str]] = set()
        for at, moment in enumerate(window.moments):
            now = {
                (state.labels.get("slot", ""), state.labels.get("version", ""))
                for state in states
                if not math.isnan(state.values[at])
            }
            # What ended may be seen for minutes beside what began: of two, the one that is new.
            current = now if len(now) == 1 else now - before
            before = now
            if len(current) == 1 and (slot_and_version := next(iter(current))) != last:
                if last is not None:
                    seen.append(Move(moment, service, *slot_and_version))
                last = slot_and_version
    return sorted(seen)
