# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_grafana.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.opsforge.platform.plugins.module_utils._grafana import config_maps, grafana_dashboards


def dashboards(services: Mapping[str, Mapping[str, Any]], namespace: str = "apps") -> Sequence[dict[str, str]]:
    """Return the dashboards as the data of ConfigMaps. Raises AnsibleFilterError."""
    try:
        return config_maps(grafana_dashboards(services, namespace))
    except PlatformError as error:
        raise AnsibleFilterError(f"grafana_dashboards: {error}") from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"grafana_dashboards": dashboards}
