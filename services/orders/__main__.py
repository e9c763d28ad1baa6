# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m orders` serves, `python -m orders migrate` brings the database to this version's schema."""

from __future__ import annotations

import sys

from kit.cli import main
from orders.settings import Settings

if __name__ == "__main__":
    sys.exit(main("orders", Settings, "orders.app:create"))
