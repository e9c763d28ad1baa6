# SPDX-License-Identifier: GPL-3.0-or-later
"""What each pod of the services weighs when nobody asks it for anything: the working set, as its node counts it."""

from __future__ import annotations

import os
import sys

from benchmarks._report import CHECKOUT, Report

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils._client import connect  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError  # noqa: E402

NAMESPACE = "apps"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def weigh(report: Report) -> None:
    """Add a figure for each service; skipped where there is no platform (`make site`)."""
    platform = os.environ.get("OPSFORGE_PLATFORM", "opsforge")
    kubeconfig = CHECKOUT / ".state" / platform / "kubeconfig"
    report.summary["idle_memory_bytes_max"] = None
    try:
        pods = connect({"kubeconfig": str(kubeconfig)}).list("metrics.k8s.io/v1beta1", "PodMetrics", NAMESPACE)
    except PlatformError as error:
        report.skip("idle_memory", f"needs the local platform: {error}")
        return
    weights = []
    for pod in pods:
        name = pod["metadata"].get("labels", {}).get("app.kubernetes.io/name", "")
        weight = sum(_bytes(container["usage"]["memory"]) for container in pod["containers"])
        report.sample("idle", f"{name}_memory_bytes", weight, "bytes")
        weights.append(weight)
    report.summary["idle_memory_bytes_max"] = max(weights, default=None)


def _bytes(quantity: str) -> int:
    """Bytes of a Kubernetes quantity such as 68012Ki."""
    return int(quantity[:-2]) * _UNITS[quantity[-2:]] if quantity[-2:] in _UNITS else int(quantity)
