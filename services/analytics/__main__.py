# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m analytics`: see `kit.cli`."""

from __future__ import annotations

import sys

from analytics.settings import Settings
from kit.cli import main

if __name__ == "__main__":
    sys.exit(main("analytics", Settings, "analytics.app:create"))
