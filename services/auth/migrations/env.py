# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's entry: `kit.migrations` hands over a connection that holds the lock."""

from __future__ import annotations

from alembic import context

from auth.users.models import User

context.configure(connection=context.config.attributes["connection"], target_metadata=User.metadata)
with context.begin_transaction():
    context.run_migrations()
