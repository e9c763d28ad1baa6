# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a slot is fit for traffic: all of its pods ready, and each of them answering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ansible_collections.opsforge.platform.plugins.module_utils import _drain
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotReady, TimedOut
from ansible_collections.opsforge.platform.plugins.module_utils._slots import State, deployment
from ansible_collections.opsforge.platform.plugins.module_utils._wait import Clock, wait_ready


class Patience(Protocol):
    """How long is waited, and what is asked. Times are in seconds."""

    @property
    def timeout(self) -> float: ...

    @property
    def interval(self) -> float: ...

    @property
    def check_port(self) -> int: ...

    @property
    def check_path(self) -> str: ...


def await_pods(
    cluster: Cluster, state: State, slot: str, deadline: float, options: Patience, clock: Clock, otherwise: str
) -> None:
    """Wait for the slot's Deployment, until a moment of the monotonic clock.

    Raises NotReady and TimedOut with the pods' own words, between `otherwise`, how things stay then, and what to do.
    """
    metadata = {"name": deployment(state.service, slot), "namespace": state.namespace}
    wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}
    left = deadline - clock.monotonic()
    try:
        if left <= 0:
            raise TimedOut(f"Deployment {metadata['name']} is not ready after {options.timeout:.0f} s")
        wait_ready(cluster, [wanted], left, clock)
    except (NotReady, TimedOut) as error:
        raise type(error)(f"{otherwise}: {error}\n{_advice(state, slot)}", **error.facts) from error
    clock.sleep(options.interval)


def _advice(state: State, slot: str) -> str:
    """What to do about a slot that does not become ready."""
    if slot == state.active:
        return f"it is in use: go back with ansible-playbook playbooks/rollback.yml -e service={state.service}"
    return "nothing has to be undone: mend the version and release it again"


def see_answers(cluster: Cluster, state: State, slot: str, options: Patience, otherwise: str) -> Sequence[str]:
    """See each of the slot's pods answer; returns their names. Raises NotReady, with how things stay then."""
    pods = state.slots[slot].pods
    silent = _drain.ask(cluster, state.namespace, pods, options.check_port, "GET", options.check_path)
    if silent:
        pod, why = sorted(silent.items())[0]
        raise NotReady(
            f"{len(silent)} of {len(pods)} pods of slot {slot} of {state.service} do not answer"
            f" {options.check_path} ({pod}: {why}): {otherwise}"
        )
    return pods
