# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a process stands in its life. The middleware counts, the management port reports, the server decides."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Lifecycle:
    """Plain state, changed only on the event loop, so it needs no lock."""

    started: bool = False
    """The lifespan has been entered: requests can be served."""
    drained: bool = False
    """Told to let its keep-alive connections go; still serves and stays ready."""
    stopping: bool = False
    """SIGTERM has come: no longer ready, still finishing."""
    in_flight: int = 0
    """Requests being answered right now."""

    @property
    def closing(self) -> bool:
        """Tell whether responses ask the peer to close its connection."""
        return self.drained or self.stopping
