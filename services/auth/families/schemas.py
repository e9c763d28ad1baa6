# SPDX-License-Identifier: GPL-3.0-or-later
"""Refresh tokens as they come in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from auth.families.token import LENGTH
from kit.schemas import Body


class Refresh(Body):
    """A refresh token, for another pair or for the end."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=2 * LENGTH)]
