# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of the limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the counters' tables."""
    for table, more in (("rates", "due"), ("lockouts", "until")):
        op.create_table(
            table,
            sa.Column("key", sa.LargeBinary(), nullable=False),
            *([sa.Column("failures", sa.Integer(), nullable=False)] if table == "lockouts" else []),
            sa.Column(more, sa.DateTime(timezone=True), nullable=False),
            sa.PrimaryKeyConstraint("key", name=f"pk_{table}"),
            prefixes=["UNLOGGED"],
        )
        op.create_index(f"ix_{table}_{more}", table, [more])


def downgrade() -> None:
    """Drop the counters: every lock-out ends."""
    op.drop_table("lockouts")
    op.drop_table("rates")
