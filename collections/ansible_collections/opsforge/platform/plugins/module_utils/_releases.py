# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a service's releases: one ConfigMap, one line of JSON for each time that traffic moved."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict, Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._records import Writer, aligned, labels, save

KEPT = 50
RELEASE = "release"
ROLLBACK = "rollback"
_KEY = "releases"
_LAST = "opsforge.dev/release-"


@dataclass(frozen=True)
class Release:
    """Traffic moved to `slot`, which held `version`; None stands for "there was nothing before"."""

    number: int
    time: str
    action: str
    slot: str
    version: str
    image: str = ""
    from_slot: str | None = None
    from_version: str | None = None
    by: str = ""
    # Pods of the slot before that were told to close their connections, of how many: "2/2".
    drained: str = ""
    approved_by: str = ""
    # The services of one joint release, in the order in which they got their traffic, with a space between.
    together: str = ""


def name(service: str) -> str:
    """The name of a service's release record."""
    return f"{service}-releases"


def read(config_map: Mapping[str, Any] | None) -> tuple[Release, ...]:
    """The releases in the order in which they happened. Raises Invalid for a record that is not ours."""
    lines = ((config_map or {}).get("data") or {}).get(_KEY, "").splitlines()
    known = {field.name for field in fields(Release)}
    try:
        # What a newer version of this collection wrote beside our fields is passed over.
        return tuple(
            Release(**{key: value for key, value in json.loads(line).items() if key in known}) for line in lines if line
        )
    except (ValueError, TypeError, AttributeError) as error:
        where = (config_map or {}).get("metadata", {}).get("name", "the release record")
        raise Invalid(f"ConfigMap {where} is not a release record ({error}): repair or delete it") from error


def newest(history: Sequence[Release]) -> int:
    """The number of the last release, 0 without one."""
    return history[-1].number if history else 0


def following(
    history: Sequence[Release], slot: str, version: str, image: str, *, time: str, by: str, drained: str
) -> Release:
    """The record of traffic that moved on from the last record to this slot.

    Going back to what the last release replaced is a rollback, whoever did it and however they called it.
    """
    last = history[-1] if history else None
    back = last is not None and last.action == RELEASE and (last.from_slot, last.from_version) == (slot, version)
    return Release(
        number=newest(history) + 1,
        time=time,
        action=ROLLBACK if back else RELEASE,
        slot=slot,
        version=version,
        image=image,
        from_slot=last.slot if last else None,
        from_version=last.version if last else None,
        by=by,
        drained=drained,
    )


def append(cluster: Writer, namespace: str, service: str, release: Release, *, manager: str) -> None:
    """Write the release behind the one it follows. Raises Conflict when somebody else was first."""
    found = cluster.get("v1", "ConfigMap", name(service), namespace)
    history = read(found)
    if newest(history) != release.number - 1:
        raise Conflict(f"somebody else recorded a release of {service} first")
    lines = [json.dumps(asdict(entry)) for entry in (*history, release)[-KEPT:]]
    # For those who watch, who are shown what stands around a record and not what is in it.
    last = {"number": str(release.number), "action": release.action, "slot": release.slot, "version": release.version}
    metadata = {
        "name": name(service),
        "namespace": namespace,
        "labels": labels(service, "releases"),
        "annotations": {f"{_LAST}{key}": value for key, value in last.items()},
    }
    wanted = {"metadata": metadata, "data": {_KEY: "\n".join(lines) + "\n"}}
    save(cluster, found, wanted, manager=manager, dry_run=False)


def tell(cluster: Writer, namespace: str, service: str, uid: str, release: Release, *, manager: str) -> None:
    """Have the cluster announce the release to whoever watches the Service, for as long as it keeps its events."""
    came = f" from {release.from_slot} {release.from_version}" if release.from_slot else ""
    who = "".join(
        f", {word} by {name}" for word, name in (("moved", release.by), ("approved", release.approved_by)) if name
    )
    cluster.create(
        {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            # By its number there is one for each release, whoever tells of it.
            "metadata": {"name": f"{name(service)}.{release.number}", "namespace": namespace},
            "eventTime": release.time.replace("Z", ".000000Z"),
            "type": "Normal" if release.action == RELEASE else "Warning",
            "reason": "Released" if release.action == RELEASE else "RolledBack",
            "action": "Switch",
            "note": f"traffic is on {release.slot} {release.version}{came}{who}"[:1024],
            "regarding": {"apiVersion": "v1", "kind": "Service", "name": service, "namespace": namespace, "uid": uid},
            "reportingController": "opsforge.dev/switch",
            "reportingInstance": (release.by or "opsforge")[:128],
        },
        manager=manager,
    )


def before(history: Sequence[Release]) -> Release | None:
    """The last release that was not a rollback: what a rollback undoes, however often it is asked for."""
    return next((entry for entry in reversed(history) if entry.action == RELEASE), None)


def seconds(release: Release) -> float:
    """When it happened, in seconds since the epoch; never (infinity) for a time that nobody can read."""
    try:
        return datetime.fromisoformat(release.time).timestamp()
    except ValueError:
        return math.inf


def table(history: Sequence[Release]) -> list[str]:
    """The history as aligned lines for people, newest first."""
    head = ("number", "time", "action", "slot", "version", "from", "drained", "by", "approved")
    rows = [head] + [
        (
            str(entry.number),
            entry.time,
            entry.action,
            entry.slot,
            entry.version,
            f"{entry.from_slot} {entry.from_version}" if entry.from_slot else "-",
            entry.drained or "-",
            entry.by or "-",
            entry.approved_by or "-",
        )
        for entry in reversed(history)
    ]
    return aligned(rows)
