# SPDX-License-Identifier: GPL-3.0-or-later
"""What the records have in common: each is one ConfigMap, written as a whole behind what was read, or not at all."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict

Object = dict[str, Any]
T = TypeVar("T")
_TRIES = 20
_PAUSE = 0.1  # seconds, at the most, and longer with each try


class Writer(Protocol):
    """The part of a cluster's client that recording needs."""

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None: ...

    def create(self, obj: Object, *, manager: str = ..., dry_run: bool = ...) -> Object: ...

    def replace(self, obj: Object, *, manager: str = ..., dry_run: bool = ...) -> Object: ...


def labels(service: str, component: str) -> dict[str, str]:
    """The labels that a record is found by; one that is about no service has no name label."""
    named = {"app.kubernetes.io/name": service} if service else {}
    return {
        **named,
        "app.kubernetes.io/part-of": "opsforge",
        "app.kubernetes.io/managed-by": "opsforge",
        "opsforge.dev/component": component,
    }


def save(cluster: Writer, found: Mapping[str, Any] | None, wanted: Object, *, manager: str, dry_run: bool) -> None:
    """Write the record in place of the one that was found. Raises Conflict when somebody else was first."""
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", **wanted}
    if found is None:
        cluster.create(wanted, manager=manager, dry_run=dry_run)
    else:
        version = found["metadata"]["resourceVersion"]
        wanted["metadata"] = {**wanted["metadata"], "resourceVersion": version}
        cluster.replace(wanted, manager=manager, dry_run=dry_run)


def insist(write: Callable[[], T], what: str, *, sleep: Callable[[float], None]) -> T:
    """Read and write anew while others are first. Raises Conflict when they always are.

    :param what: what is written, for the words of the error.
    """
    for tries in range(1, _TRIES + 1):
        try:
            return write()
        except Conflict as error:
            if tries == _TRIES:
                raise Conflict(f"others wrote {what} first, {_TRIES} times in a row: {error}") from error
            sleep(random.uniform(0, _PAUSE * tries))
    raise AssertionError("unreachable")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many cells as lines for people."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
