# SPDX-License-Identifier: GPL-3.0-or-later
"""What routes ask for, as named types."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from kit.events import Consumer
from kit.tokens import Caller, require_role

AdminDep = Annotated[Caller, Depends(require_role("admin"))]


def get_consumer(request: Request) -> Consumer:
    """Return the app's consumer, which knows the dead events."""
    consumer: Consumer = request.app.state.consumer
    return consumer


ConsumerDep = Annotated[Consumer, Depends(get_consumer)]
