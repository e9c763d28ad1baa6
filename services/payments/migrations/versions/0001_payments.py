# SPDX-License-Identifier: GPL-3.0-or-later
"""Payments, the provider's events, and the outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kit.events import create_outbox, drop_outbox

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of our book."""
    op.create_table(
        "payments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("charge_id", sa.Text(), nullable=False),
        sa.Column("asks", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_payments"),
        sa.UniqueConstraint("caller", "idempotency_key", name="uq_payments_caller_idempotency_key"),
    )
    op.create_index(
        "uq_payments_live_order", "payments", ["order_id"], unique=True, postgresql_where=sa.text("state <> 'failed'")
    )
    op.create_index("ix_payments_order_id", "payments", ["order_id", "created_at"])
    op.create_index(
        "ix_payments_due_at", "payments", ["due_at"], postgresql_where=sa.text("state IN ('created', 'pending')")
    )
    op.create_index("ix_payments_created_at", "payments", ["created_at"])
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_events"),
    )
    create_outbox(op)


def downgrade() -> None:
    """Drop them, with every payment."""
    drop_outbox(op)
    op.drop_table("webhook_events")
    op.drop_table("payments")
