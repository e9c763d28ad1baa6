# SPDX-License-Identifier: GPL-3.0-or-later
"""The books of the local provider, a stand-in: nothing of ours refers to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the ledger of the local provider."""
    op.create_table(
        "local_charges",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asks", sa.Integer(), nullable=False),
        sa.Column("callbacks", sa.Integer(), nullable=False),
        sa.Column("call_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("settles_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_local_charges"),
        sa.UniqueConstraint("idempotency_key", name="uq_local_charges_idempotency_key"),
    )
    op.create_index("ix_local_charges_call_at", "local_charges", ["call_at"], postgresql_where=sa.text("callbacks > 0"))
    op.create_index("ix_local_charges_created_at", "local_charges", ["created_at"])


def downgrade() -> None:
    """Drop it: no money has moved."""
    op.drop_table("local_charges")
