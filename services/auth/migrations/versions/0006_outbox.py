# SPDX-License-Identifier: GPL-3.0-or-later
"""Events that wait to be told."""

from __future__ import annotations

from alembic import op

from kit.events import create_outbox, drop_outbox

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the outbox."""
    create_outbox(op)


def downgrade() -> None:
    """Drop the outbox."""
    drop_outbox(op)
