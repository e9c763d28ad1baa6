# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the pods of a slot to let go of their connections, through the API server, so that no route to pods is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._parallel import each

# A pod that answers at all answers in milliseconds; this bounds how long a dead one holds up a switch, in seconds.
TIMEOUT = 2.0


class Proxy(Protocol):
    """The part of a cluster's client that reaches into pods."""

    def proxy(
        self, namespace: str, pod: str, port: int | str, method: str = ..., path: str = ..., timeout: float = ...
    ) -> int: ...


def ask(cluster: Proxy, namespace: str, pods: Sequence[str], port: int | str, method: str, path: str) -> dict[str, str]:
    """Send one request to each pod at once; for each pod that did not answer with success: what it said."""

    def one(pod: str) -> str:
        try:
            status = cluster.proxy(namespace, pod, port, method, path, timeout=TIMEOUT)
        except PlatformError as error:
            return str(error)
        return "" if 200 <= status < 300 else f"HTTP {status}"

    answers = dict(zip(pods, each(one, pods), strict=True))
    return {pod: answer for pod, answer in answers.items() if answer}


def drain(cluster: Proxy, namespace: str, pods: Sequence[str], port: int | str) -> dict[str, str]:
    """Tell pods to answer with `Connection: close` from now on; returns those that did not hear it, and why."""
    return ask(cluster, namespace, pods, port, "PUT", "/drain")


def undrain(cluster: Proxy, namespace: str, pods: Sequence[str], port: int | str) -> dict[str, str]:
    """Tell pods to keep connections open again; returns those that did not hear it, and why."""
    return ask(cluster, namespace, pods, port, "DELETE", "/drain")
