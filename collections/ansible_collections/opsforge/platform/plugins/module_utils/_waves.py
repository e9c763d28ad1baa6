# SPDX-License-Identifier: GPL-3.0-or-later
"""In what order objects are written: what others need comes first."""

from __future__ import annotations

from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._objects import identity

Object = dict[str, Any]
ANNOTATION = "opsforge.dev/wave"

_WAVES = {
    0: "Namespace CustomResourceDefinition PriorityClass StorageClass RuntimeClass IngressClass",
    10: (
        "ServiceAccount ClusterRole ClusterRoleBinding Role RoleBinding ConfigMap Secret PersistentVolume"
        " PersistentVolumeClaim LimitRange ResourceQuota NetworkPolicy PodDisruptionBudget"
    ),
    20: "Service Endpoints EndpointSlice",
    30: "Deployment StatefulSet DaemonSet ReplicaSet Job CronJob Pod",
}
_REST = 40
_BY_KIND = {kind: wave for wave, kinds in _WAVES.items() for kind in kinds.split()}


def is_explicit(obj: Object) -> bool:
    """Tell whether the object names its wave itself."""
    return ANNOTATION in (obj["metadata"].get("annotations") or {})


def wave_of(obj: Object) -> int:
    """Return the wave that the annotation names, else that of the kind. Raises Invalid if it is no integer."""
    if not is_explicit(obj):
        return _BY_KIND.get(obj["kind"], _REST)
    value = obj["metadata"]["annotations"][ANNOTATION]
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise Invalid(f"{identity(obj)}: the annotation {ANNOTATION} must be an integer, not {value!r}") from error


def waves(objects: list[Object]) -> list[list[Object]]:
    """Sort objects into waves, first one first; within a wave they keep their order."""
    sorted_in: dict[int, list[Object]] = {}
    for obj in objects:
        sorted_in.setdefault(wave_of(obj), []).append(obj)
    return [sorted_in[wave] for wave in sorted(sorted_in)]
