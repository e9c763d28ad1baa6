# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m notifications`: see `kit.cli`."""

from __future__ import annotations

import sys

from kit.cli import main
from notifications.settings import Settings

if __name__ == "__main__":
    sys.exit(main("notifications", Settings, "notifications.app:create"))
