# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to module_utils/_receivers.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._receivers import complaints, files, receivers


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "alert_receivers": receivers,
            "alert_receiver_files": files,
            "alert_receiver_complaints": complaints,
        }
