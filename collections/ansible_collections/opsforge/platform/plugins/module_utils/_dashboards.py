# SPDX-License-Identifier: GPL-3.0-or-later
"""All dashboards of an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils import (
    _cluster_dashboards,
    _platform_dashboards,
    _service_dashboards,
    _slo_panels,
)
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid
from ansible_collections.opsforge.platform.plugins.module_utils._panels import Dashboard, Scene


def dashboards(services: Mapping[str, Mapping[str, Any]], namespace: str) -> list[Dashboard]:
    """The platform's, then one for each service of `platform_services`."""
    scene = Scene(services, namespace)
    return [
        _platform_dashboards.application_health(scene),
        _slo_panels.overview(),
        _cluster_dashboards.cluster_health(scene),
        _cluster_dashboards.failure_signals(scene),
        _platform_dashboards.releases(scene),
        _platform_dashboards.operations(scene),
        _cluster_dashboards.capacity(scene),
        *_service_dashboards.dashboards(scene),
    ]


def chosen(every: Sequence[Dashboard], uids: Sequence[str]) -> list[Dashboard]:
    """Those with these uids, in their order; all if none is named. Raises Invalid for one that does not exist."""
    known = {dashboard.uid: dashboard for dashboard in every}
    if unknown := [uid for uid in uids if uid not in known]:
        raise Invalid(f"there is no dashboard {' and no '.join(unknown)}; there are {', '.join(known)}")
    return [known[uid] for uid in dict.fromkeys(uids or known)]
