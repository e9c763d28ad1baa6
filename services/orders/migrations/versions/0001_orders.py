# SPDX-License-Identifier: GPL-3.0-or-later
"""Carts, orders and the outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kit.events import create_outbox, drop_outbox

revision = "0001"
down_revision = None

_NOW = sa.func.now()
_STATES = "'cancelled', 'cancelling', 'fulfilled', 'paid', 'paying', 'placed', 'refund_due', 'reserved', 'reversing'"


def _time(name: str, **options: object) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)  # type: ignore[arg-type]


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "cart_items",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        _time("added_at", server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "product_id", name="pk_cart_items"),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_cart_items_quantity")),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("payment_method", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("total_cents", sa.BigInteger()),
        sa.Column("currency", sa.Text()),
        sa.Column("payment_id", sa.Uuid()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _time("due_at"),
        sa.Column("lease", sa.Uuid()),
        _time("leased_until"),
        sa.Column("traceparent", sa.Text(), nullable=False),
        _time("created_at", server_default=_NOW, nullable=False),
        _time("updated_at", server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="uq_orders_user_id_idempotency_key"),
        sa.CheckConstraint(f"state IN ({_STATES})", name=op.f("ck_orders_state")),
        sa.CheckConstraint(
            "(due_at IS NULL) = (state IN ('cancelled', 'fulfilled', 'refund_due'))", name=op.f("ck_orders_finished")
        ),
    )
    op.create_index("ix_orders_due_at", "orders", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_index("ix_orders_user_id_created_at_id", "orders", ["user_id", "created_at", "id"])
    op.create_table(
        "order_lines",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("unit_cents", sa.BigInteger()),
        sa.PrimaryKeyConstraint("order_id", "product_id", name="pk_order_lines"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_order_lines_order_id", ondelete="CASCADE"),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_order_lines_quantity")),
    )
    op.create_table(
        "order_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("from_state", sa.Text()),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        _time("at", server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_order_events"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_order_events_order_id", ondelete="CASCADE"),
    )
    op.create_index("ix_order_events_order_id", "order_events", ["order_id"])
    create_outbox(op)


def downgrade() -> None:
    """Drop the tables, with every order and every event that was not sent yet."""
    drop_outbox(op)
    for table in ("order_events", "order_lines", "orders", "cart_items"):
        op.drop_table(table)
