# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_slo.py, _slo_documents.py and _slo_rules.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._slo import FAILURES_MIN, FRESHNESS_PERCENT, of_services
from ansible_collections.opsforge.platform.plugins.module_utils._slo_documents import complaints, of_documents
from ansible_collections.opsforge.platform.plugins.module_utils._slo_rules import groups


def rules(
    services: Mapping[str, Any],
    documents: Sequence[Mapping[str, Any]] = (),
    *,
    namespace: str,
    failures_min: float = FAILURES_MIN,
    freshness_percent: float = FRESHNESS_PERCENT,
) -> dict[str, Any]:
    """Return the content of a rule file. There must be no complaints()."""
    of_entries = of_services(services, namespace, failures_min=failures_min, freshness_percent=freshness_percent)
    return {"groups": groups([*of_entries, *of_documents(documents, services, failures_min=failures_min)])}


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"slo_rules": rules, "slo_complaints": complaints}
