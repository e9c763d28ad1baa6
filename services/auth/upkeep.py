# SPDX-License-Identifier: GPL-3.0-or-later
"""What a replica does beside its requests: move the keys on, have an administrator, drop what is over."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from auth.deps import Parts
from auth.families import service as families
from auth.limits import service as limits
from auth.users import service as users

_PURGE_EVERY = timedelta(minutes=1)


class Upkeep:
    """Every replica does it; whoever comes second finds it done."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._has_admin = False
        self._purge_due: datetime | None = None

    async def run(self) -> None:
        """Do it every few seconds."""
        while True:
            await asyncio.sleep(self._parts.settings.key_poll_seconds)
            await self.once()

    async def once(self) -> None:
        """Do what is due."""
        await self._parts.keyring.tend()
        if not self._has_admin:
            await users.have_admin(parts=self._parts)
            self._has_admin = True
        now = self._parts.now()
        if self._purge_due is None or now >= self._purge_due:
            await limits.purge(database=self._parts.database, now=now)
            await families.purge(database=self._parts.database, now=now)
            self._purge_due = now + _PURGE_EVERY
