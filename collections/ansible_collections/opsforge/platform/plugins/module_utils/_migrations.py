# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the migrations of versions as Jobs, before there are pods of these versions, and tell what they did.

What only adds may be run under the traffic of the version before. What takes away (a contract) is refused as long as
any version but the one in use is to have pods on that database; those on their way out are waited for.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import _releases
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Invalid,
    NotReady,
    PlatformError,
    TimedOut,
)
from ansible_collections.opsforge.platform.plugins.module_utils._objects import parse
from ansible_collections.opsforge.platform.plugins.module_utils._parallel import each
from ansible_collections.opsforge.platform.plugins.module_utils._ready import condition
from ansible_collections.opsforge.platform.plugins.module_utils._slots import (
    NAME_LABEL,
    VERSION_LABEL,
    Slot,
    State,
    read,
)
from ansible_collections.opsforge.platform.plugins.module_utils._wait import Clock, wait_gone, wait_ready

Object = dict[str, Any]
MANAGER = "opsforge-service"
JOB_LABEL = "batch.kubernetes.io/job-name"
# What the services' kit says in the end, as one line of JSON.
_ENDS = ("migrated", "database is ahead of this version")
_LOG_LINES = 20
_GRACE = 15.0  # seconds beyond a Job's own deadline, which its controller sees to


@dataclass(frozen=True)
class Migration:
    """The migrations of one version of a service, and the Job that runs them."""

    service: str
    version: str
    job: Object
    # Other services on the same database.
    shared_with: tuple[str, ...] = ()
    # How long the slot that traffic left is kept, for what is said of it; None for good.
    keep_seconds: float | None = None

    @classmethod
    def of(cls, params: Mapping[str, Any], namespace: str) -> Migration:
        """Read it from the module's parameters. Raises Invalid for anything but one Job with a deadline."""
        found = parse([params["job"]])
        if len(found) != 1 or found[0]["kind"] != "Job":
            raise Invalid(f"the job of {params['service']} must be one Job")
        job = copy.deepcopy(found[0])
        if not job.get("spec", {}).get("activeDeadlineSeconds"):
            raise Invalid(f"the Job of {params['service']} needs spec.activeDeadlineSeconds: nobody waits for ever")
        # Another Job for whatever else it would run, and the same for a run that was killed and is begun again.
        digest = hashlib.sha256(json.dumps(job["spec"], sort_keys=True).encode()).hexdigest()[:8]
        job["metadata"].update(name=f"{job['metadata']['name']}-{digest}", namespace=namespace)
        shared = tuple(params["shared_with"] or ())
        return cls(params["service"], params["version"], job, shared, params["keep_seconds"])


def check_contract(migration: Migration, states: Sequence[State]) -> None:
    """Refuse to take away what some version needs; the first state is the service's own. Raises Invalid."""
    service, version = migration.service, migration.version
    serving = states[0].serving if states else None
    if serving is None or serving.version != version:
        used = f"{serving.version} is" if serving else "none is"
        raise Invalid(f"{service} {version} can't contract, for {used} in use: release it first")
    for state in states:
        for slot in state.slots.values():
            if slot.version != version and slot.replicas:
                raise Invalid(
                    f"{service} {version} can't take away what another version may use: {_why(migration, state, slot)}"
                )


def _why(migration: Migration, state: State, slot: Slot) -> str:
    """Who is in the way, and what can be done."""
    if slot.name == state.active:
        return f"{state.service} {slot.version} is in use on the same database: release {migration.version} of it first"
    last = state.history[-1] if state.history else None
    if last is None or (slot.name, slot.version) != (last.from_slot, last.from_version):
        return f"slot {slot.name} of {state.service} holds {slot.version}: promote it or release over it first"
    until = "good"
    if migration.keep_seconds is not None:
        end = datetime.fromtimestamp(_releases.seconds(last) + migration.keep_seconds, UTC)
        until = f"{end:%Y-%m-%dT%H:%M:%SZ}, when a run of playbooks/site.yml stops it"
    return (
        f"slot {slot.name} ({slot.version}) is kept for a rollback until {until}. Wait for that, or give up the way"
        f" back with ansible-playbook playbooks/contract.yml -e service={state.service} -e contract_approved_by=<name>"
    )


def run(
    cluster: Cluster,
    namespace: str,
    migrations: Sequence[Migration],
    *,
    contract: bool,
    check_mode: bool,
    clock: Clock = time,
) -> dict[str, Any]:
    """Run all of them at once and return what each did. In check mode nothing is run, and nobody knows what would be.

    Raises Invalid for a contract that is refused, before the first Job; NotReady and TimedOut for migrations that fail.
    """
    if contract:
        for migration in migrations:
            names = (migration.service, *migration.shared_with)
            check_contract(migration, [read(cluster, namespace, name) for name in names])
    if check_mode:
        return _answer([{**_identity(migration), "at": None, "run": None, "left": None} for migration in migrations])
    if contract:
        leaving = [pod for migration in migrations for pod in _others(cluster, namespace, migration)]
        # Those who are to stop may still answer their last requests.
        wait_gone(cluster, leaving, max((_grace(pod) for pod in leaving), default=0) + _GRACE, clock)
    return _answer(each(lambda migration: _run(cluster, namespace, migration, clock), migrations))


def _answer(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"changed": any(one["run"] != [] for one in found), "migrations": found}


def _identity(migration: Migration) -> dict[str, Any]:
    return {
        "service": migration.service,
        "version": migration.version,
        "job": migration.job["metadata"]["name"],
    }


def _others(cluster: Cluster, namespace: str, migration: Migration) -> Iterable[Object]:
    """The pods of other versions on this database, which are on their way out."""
    for service in (migration.service, *migration.shared_with):
        for pod in cluster.list("v1", "Pod", namespace, {NAME_LABEL: service}):
            version = (pod["metadata"].get("labels") or {}).get(VERSION_LABEL, migration.version)
            if version != migration.version and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                yield pod


def _grace(pod: Object) -> float:
    return float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)


def _run(cluster: Cluster, namespace: str, migration: Migration, clock: Clock) -> dict[str, Any]:
    """Have the Job end well. One that an earlier run left behind is waited for, or made anew if it is over."""
    job = migration.job
    name = job["metadata"]["name"]
    try:
        live = cluster.get("batch/v1", "Job", name, namespace)
        if live is not None and _is_over(live):
            cluster.delete("batch/v1", "Job", name, namespace, preconditions={"uid": live["metadata"]["uid"]})
            wait_gone(cluster, [job], _GRACE, clock)
            live = None
        if live is None:
            _create(cluster, job)
        wait_ready(cluster, [job], job["spec"]["activeDeadlineSeconds"] + _GRACE, clock)
    except (NotReady, TimedOut) as error:
        _forget(cluster, namespace, name)
        raise type(error)(
            f"the migrations of {migration.service} {migration.version} did not run to their end, so traffic stays"
            f" where it is and no pod of that version starts: {error}"
        ) from error
    return {**_identity(migration), **_told(cluster, namespace, name)}


def _create(cluster: Cluster, job: Object) -> None:
    try:
        cluster.create(job, manager=MANAGER)
    except Conflict:
        return  # somebody else began the very same


def _forget(cluster: Cluster, namespace: str, name: str) -> None:
    """Take away a Job that could still begin some day, such as one whose image comes late; a failed one tells why."""
    with suppress(PlatformError):
        live = cluster.get("batch/v1", "Job", name, namespace)
        if live is not None and not _is_over(live):
            cluster.delete("batch/v1", "Job", name, namespace, preconditions={"uid": live["metadata"]["uid"]})


def _is_over(job: Object) -> bool:
    deleted = bool(job["metadata"].get("deletionTimestamp"))
    return deleted or any(condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def _told(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """What the migrations say that they did; None for what they don't say, such as those of somebody's own image."""
    try:
        pods = cluster.list("v1", "Pod", namespace, {JOB_LABEL: name})
        done = [pod["metadata"]["name"] for pod in pods if (pod.get("status") or {}).get("phase") == "Succeeded"]
        lines = [line for pod in done for line in cluster.logs(namespace, pod, tail=_LOG_LINES).splitlines()]
    except PlatformError:
        lines = []  # it is done, whether or not somebody may read of it
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("event") in _ENDS:
            unchanged = found.get("before") == found.get("after")
            return {
                "at": found.get("after"),
                "run": found.get("run", [] if unchanged else None),
                "left": found.get("left"),
            }
    return {"at": None, "run": None, "left": None}
