# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that talks to a cluster; the doc fragment `connection` describes them."""

from __future__ import annotations

from typing import Any

CONNECTION_ARGS: dict[str, dict[str, Any]] = {
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
}
