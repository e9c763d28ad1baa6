# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the keys' table. The service fills it, first with the key that it derived from its secret so far."""
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
        sa.CheckConstraint("state IN ('next', 'active', 'retiring')", name="ck_signing_keys_state"),
        sa.CheckConstraint("(state = 'retiring') = (ends_at IS NOT NULL)", name="ck_signing_keys_ends_at"),
    )
    one_each = sa.text("state <> 'retiring'")
    op.create_index("uq_signing_keys_state", "signing_keys", ["state"], unique=True, postgresql_where=one_each)


def downgrade() -> None:
    """Drop the keys: tokens of any but the first are no longer valid."""
    op.drop_table("signing_keys")
