# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_services.py."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.opsforge.platform.plugins.module_utils._services import complaints, order


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"service_complaints": complaints, "service_order": order}
