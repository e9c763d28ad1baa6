# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver: finishes what a crash, a time-out or a silent provider left."""

from __future__ import annotations

import asyncio

from payments.book.cashier import Cashier


class Driver:
    """Looks for unfinished payments every `seconds`, at once again while there are more."""

    def __init__(self, cashier: Cashier, *, seconds: float) -> None:
        self._cashier = cashier
        self._seconds = seconds

    async def run(self) -> None:
        """Drive until cancelled."""
        while True:
            if not await self._cashier.drive():
                await asyncio.sleep(self._seconds)
