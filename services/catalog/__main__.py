# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m catalog`: see `kit.cli`."""

from __future__ import annotations

import sys

from catalog.seed import COMMAND
from catalog.settings import Settings
from kit.cli import main

if __name__ == "__main__":
    sys.exit(main("catalog", Settings, "catalog.app:create", commands={"seed": COMMAND}))
