# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer to the provider."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class WebhookResult(BaseModel):
    """What became of the event; all of these mean that it need not come again."""

    result: Literal["applied", "known", "stale", "contradiction", "repeated"]
