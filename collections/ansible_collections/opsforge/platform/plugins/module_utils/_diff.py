# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an object counts as its state, and how a change of it is shown."""

from __future__ import annotations

from typing import Any

import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._mask import mask

Object = dict[str, Any]
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def state(obj: Object | None) -> Object:
    """Return the object without its status and the server's bookkeeping; {} for no object."""
    if obj is None:
        return {}
    kept = {key: value for key, value in obj.items() if key not in ("status", "metadata")}
    kept["metadata"] = {key: value for key, value in obj["metadata"].items() if key not in _BOOKKEEPING}
    return kept


def show(title: str, before: Object | None, after: Object | None) -> dict[str, str]:
    """Return Ansible's diff of two versions as YAML, secret values hidden."""
    old, new = state(before), state(after)
    return {
        "before_header": title,
        "after_header": title,
        "before": _text(mask(old, new)),
        "after": _text(mask(new, old)),
    }


def _text(obj: Object) -> str:
    return yaml.dump(obj, Dumper=_DUMPER, sort_keys=True) if obj else ""
