# SPDX-License-Identifier: GPL-3.0-or-later
"""E-mail addresses."""

from __future__ import annotations

import re

# Enough to keep anything but one address out of a header; whether mail arrives only a mail can tell.
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


def is_address(text: str) -> bool:
    """Tell whether the text is one plain address and nothing else."""
    return len(text) <= 254 and bool(_ADDRESS.fullmatch(text))
