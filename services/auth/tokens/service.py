# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer to a log-in and to a refresh."""

from __future__ import annotations

from auth.deps import Parts
from auth.families.service import Session
from auth.tokens.schemas import TokenPublic


async def issue(*, parts: Parts, session: Session) -> TokenPublic:
    """Return an access token for the session, and its refresh token."""
    return TokenPublic(
        access_token=await parts.signer.issue(session.user_id, session.email, session.roles),
        expires_in=parts.signer.seconds,
        refresh_token=str(session.token),
        refresh_expires_in=int((session.expires_at - parts.now()).total_seconds()),
    )
