# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_remote_write.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._remote_write import complaints, config, secrets


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"remote_write": config, "remote_write_secrets": secrets, "remote_write_complaints": complaints}
