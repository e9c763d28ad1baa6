# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of refresh tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the families table."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "families",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("client", sa.LargeBinary(), nullable=False),
        sa.Column("password_version", sa.Integer(), nullable=False),
        sa.Column("current", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("begun_at", moment, nullable=False),
        sa.Column("rotated_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("ends_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.Column("reused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_families"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_families_user_id", ondelete="CASCADE"),
    )
    op.create_index("ix_families_user_id_client", "families", ["user_id", "client"])
    op.create_index("ix_families_ends_at", "families", ["ends_at"])


def downgrade() -> None:
    """Drop the table: every session ends with its access token."""
    op.drop_table("families")
