# SPDX-License-Identifier: GPL-3.0-or-later
"""Alembic's entry for every service: `kit.migrations` hands over a connection that holds the lock."""

from __future__ import annotations

from alembic import context

given = context.config.attributes
context.configure(connection=given["connection"], on_version_apply=given["on_version_apply"])
with context.begin_transaction():
    context.run_migrations()
