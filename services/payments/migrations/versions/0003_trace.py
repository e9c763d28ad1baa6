# SPDX-License-Identifier: GPL-3.0-or-later
"""The request that a payment follows from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; what the version before writes has none of it."""
    op.add_column("payments", sa.Column("trace", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    """Drop it: later steps are found by ids of their own then."""
    op.drop_column("payments", "trace")
