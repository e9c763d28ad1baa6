# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m auth` serves, `python -m auth migrate` brings the database to this version's schema."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from auth.settings import Settings
from kit import load_settings, serve


def main() -> int:
    """Run the command given on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m auth", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve the API and the management port (the default)")
    migration = commands.add_parser("migrate", help="run the database migrations; safe from several pods at once")
    migration.add_argument("--to", default="head", metavar="REVISION", help="default: %(default)s")
    migration.add_argument("--down", action="store_true", help="go down to REVISION (base: undo everything)")
    migration.add_argument("--wait", type=float, default=60, metavar="SECONDS", help="default: %(default)s")
    chosen = parser.parse_args()
    settings = load_settings(Settings)
    if chosen.command == "migrate":
        return _migrate(settings, to=chosen.to, down=chosen.down, wait_seconds=chosen.wait)

    from auth.app import create

    serve(create(settings))
    return 0


def _migrate(settings: Settings, *, to: str, down: bool, wait_seconds: float) -> int:
    # Imported here: the serving process has no use for Alembic.
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from kit.logs import configure_logging
    from kit.migrations import migrate

    configure_logging(settings)
    scripts = str(Path(__file__).parent / "migrations")
    try:
        migrate(settings.database_url.get_secret_value(), scripts, to=to, down=down, wait_seconds=wait_seconds)
    except (CommandError, SQLAlchemyError) as error:
        print(f"migration failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
