# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_services.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._services import complaints


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[[Mapping[str, Any]], list[str]]]:
        """Return the filters by name."""
        return {"service_complaints": complaints}
