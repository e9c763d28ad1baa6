# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a service's gates: one ConfigMap, one line of JSON for each condition that was decided on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._records import Writer, aligned, insist, labels, save

KEPT = 200
BYTES_MAX = 500_000  # the server takes a ConfigMap of twice that
_KEY = "decisions"

# JSON has no infinities and no NaN: those are written as Prometheus writes them.
Number = float | str | None


@dataclass(frozen=True)
class Decision:
    """One condition, as it was asked and answered last, and what that meant."""

    number: int
    # UTC.
    time: str
    when: str
    slot: str
    condition: str
    query: str
    outcome: str
    verdict: str
    reason: str = ""
    value: Number = None
    baseline_slot: str | None = None
    baseline_value: Number = None
    # The bounds that were given, by name.
    bounds: Mapping[str, float] = field(default_factory=dict)
    samples: Number = None
    age_seconds: Number = None
    # How often it was looked at, and how often that failed.
    looks: int = 1
    looks_failed: int = 0
    version: str = ""
    by: str = ""
    run_id: str = ""
    override_by: str = ""
    override_reason: str = ""


def name(service: str) -> str:
    """The name of a service's record of decisions."""
    return f"{service}-decisions"


def read(config_map: Mapping[str, Any] | None) -> tuple[Decision, ...]:
    """The decisions in the order in which they were recorded. Raises Invalid for a record that is not ours."""
    lines = ((config_map or {}).get("data") or {}).get(_KEY, "").splitlines()
    known = {field.name for field in fields(Decision)}
    try:
        # What a newer version of this collection wrote beside our fields is passed over.
        found = tuple(
            Decision(**{key: value for key, value in json.loads(line).items() if key in known})
            for line in lines
            if line
        )
        if not all(type(entry.number) is int for entry in found):
            raise ValueError("a number is not a whole number")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        where = (config_map or {}).get("metadata", {}).get("name", "the record of decisions")
        raise Invalid(f"ConfigMap {where} is not a record of decisions ({error}): repair or delete it") from error
    return found


def append(
    cluster: Writer,
    namespace: str,
    service: str,
    decisions: Sequence[Decision],
    *,
    manager: str,
    sleep: Callable[[float], None],
) -> tuple[Decision, ...]:
    """Number the decisions and write them behind those that others may write at the same time.

    Raises Conflict when others are always first.
    """
    return insist(
        lambda: _append(cluster, namespace, service, decisions, manager), f"the decisions of {service}", sleep=sleep
    )


def _append(
    cluster: Writer, namespace: str, service: str, decisions: Sequence[Decision], manager: str
) -> tuple[Decision, ...]:
    found = cluster.get("v1", "ConfigMap", name(service), namespace)
    history = read(found)
    last = history[-1].number if history else 0
    numbered = tuple(replace(entry, number=last + at) for at, entry in enumerate(decisions, 1))
    metadata = {"name": name(service), "namespace": namespace, "labels": labels(service, "decisions")}
    wanted = {"metadata": metadata, "data": {_KEY: _written((*history, *numbered))}}
    save(cluster, found, wanted, manager=manager, dry_run=False)
    return numbered


def _written(decisions: Sequence[Decision]) -> str:
    """The newest lines that are few and short enough to be kept."""
    kept: list[str] = []
    size = 0
    for entry in reversed(decisions[-KEPT:]):
        line = json.dumps(asdict(entry), allow_nan=False) + "\n"
        size += len(line)
        if size > BYTES_MAX and kept:
            break
        kept.append(line)
    return "".join(reversed(kept))


def table(decisions: Sequence[Decision]) -> list[str]:
    """The decisions as aligned lines for people, newest first."""
    head = ("number", "time", "when", "slot", "condition", "value", "bounds", "baseline", "outcome", "verdict", "by")
    rows = [head] + [
        (
            str(entry.number),
            entry.time,
            entry.when,
            f"{entry.slot} {entry.version}".rstrip(),
            entry.condition,
            shown(entry.value),
            " ".join(f"{key}={shown(bound)}" for key, bound in entry.bounds.items()) or "-",
            f"{entry.baseline_slot} {shown(entry.baseline_value)}" if entry.baseline_slot else "-",
            entry.outcome,
            entry.verdict + (f" (overridden by {entry.override_by})" if entry.override_by else ""),
            entry.by or "-",
        )
        for entry in reversed(decisions)
    ]
    return aligned(rows)


def shown(value: Number) -> str:
    """A number for people."""
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4g}"
