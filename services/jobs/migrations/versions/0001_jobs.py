# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs, the drills' counters, and the workers."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_NOW = sa.func.now()


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=None if nullable else _NOW)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("trace", sa.Text(), nullable=False, server_default=""),
        sa.Column("state", sa.Text(), nullable=False, server_default="queued"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("losses", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("worker", sa.Text()),
        _moment("created_at"),
        _moment("queued_at"),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=_NOW),
        _moment("started_at", nullable=True),
        _moment("finished_at", nullable=True),
        sa.Column("error", sa.Text()),
        sa.Column("result", postgresql.JSONB()),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.CheckConstraint("state IN ('queued', 'running', 'retrying', 'done', 'dead')", name="ck_jobs_state"),
    )
    is_open = sa.text("state <> 'done'")
    op.create_index("ix_jobs_open", "jobs", ["state", "due_at", "id"], postgresql_where=is_open)
    has_key = sa.text("idempotency_key IS NOT NULL")
    op.create_index("uq_jobs_key", "jobs", ["owner", "idempotency_key"], unique=True, postgresql_where=has_key)
    # Only the clean-up asks for it, and a b-tree would cost every job.
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"], postgresql_using="brin")
    # Every job leaves two dead rows behind: the default of a fifth of the table would let them pile up.
    op.execute("ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05)")
    op.create_table(
        "tallies",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tallies"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        _moment("started_at"),
        _moment("seen_at"),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )


def downgrade() -> None:
    """Drop the tables, with every job in them."""
    for table in ("workers", "tallies", "jobs"):
        op.drop_table(table)
