# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a service: `python -m auth` serves, `python -m auth migrate` brings its database to this version."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from kit.settings import Settings, load_settings

Command = tuple[str, Callable[[Any], None]]
"""A command of one service: its help, and what is called with the settings."""


def main(package: str, settings: type[Settings], create: str, *, commands: Mapping[str, Command] | None = None) -> int:
    """Run the command given on the command line; returns the exit status.

    `create` names what builds the app ("auth.app:create") and is imported only to serve. `commands` are beside
    `serve` (the default) and `migrate`.
    """
    own = dict(commands or {})
    chosen = _parse(package, own)
    loaded = load_settings(settings)
    if chosen.command == "migrate":
        return _migrate(loaded, package, to=chosen.to, down=chosen.down, wait_seconds=chosen.wait)
    if chosen.command in own:
        own[chosen.command][1](loaded)
        return 0

    from kit.server import serve

    module, _, function = create.partition(":")
    serve(getattr(import_module(module), function)(loaded))
    return 0


def _parse(package: str, own: Mapping[str, Command]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=import_module(package).__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve the API and the management port (the default)")
    migration = commands.add_parser("migrate", help="run the database migrations; safe from several pods at once")
    migration.add_argument("--to", default="head", metavar="REVISION", help="default: %(default)s")
    migration.add_argument("--down", action="store_true", help="go down to REVISION (base: undo everything)")
    migration.add_argument("--wait", type=float, default=60, metavar="SECONDS", help="default: %(default)s")
    for name, (text, _) in own.items():
        commands.add_parser(name, help=text)
    return parser.parse_args()


def _migrate(settings: Settings, package: str, *, to: str, down: bool, wait_seconds: float) -> int:
    # Imported here: the serving process has no use for Alembic.
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from kit.database import DatabaseSettings
    from kit.logs import configure_logging
    from kit.migrations import migrate

    assert isinstance(settings, DatabaseSettings), f"{package} has no database"
    configure_logging(settings)
    try:
        migrate(settings.database_url.get_secret_value(), package, to=to, down=down, wait_seconds=wait_seconds)
    except (CommandError, SQLAlchemyError) as error:
        print(f"migration failed: {error}", file=sys.stderr)
        return 1
    return 0
