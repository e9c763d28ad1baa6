# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles of users, and a count of password changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make everybody a customer. Constant defaults: no row is rewritten, and the version before goes on signing up."""
    op.add_column(
        "users",
        sa.Column("roles", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{customer}'"), nullable=False),
    )
    op.add_column("users", sa.Column("password_version", sa.Integer(), server_default=sa.text("1"), nullable=False))


def downgrade() -> None:
    """Forget who is more than a customer."""
    op.drop_column("users", "password_version")
    op.drop_column("users", "roles")
