# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of a service: `python -m auth` serves, `python -m auth migrate` brings its database to this version."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from kit.settings import Settings, load_settings

Command = tuple[str, Callable[[Any], None]]
"""A command of one service: its help, and what is called with the settings."""

_AGAIN, _NEVER = 1, 3
"""Exit status of a migration that may work when it is tried again, and of one that will not."""


def main(package: str, settings: type[Settings], create: str, *, commands: Mapping[str, Command] | None = None) -> int:
    """Run the command given on the command line; returns the exit status.

    `create` names what builds the app ("auth.app:create") and is imported only to serve. `commands` are beside
    `serve` (the default) and `migrate`.
    """
    own = dict(commands or {})
    chosen = _parse(package, own)
    loaded = load_settings(settings)
    if chosen.command == "migrate":
        return _migrate(loaded, package, chosen)
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
    migration.add_argument("--contract", action="store_true", help="also take away what earlier versions need")
    migration.add_argument("--by", default="", metavar="NAME", help="who answers for that, for the record")
    migration.add_argument("--plan", action="store_true", help="print as JSON what would be run, and run nothing")
    for name, (text, _) in own.items():
        commands.add_parser(name, help=text)
    return parser.parse_args()


def _migrate(settings: Settings, package: str, chosen: argparse.Namespace) -> int:
    # Imported here: the serving process has no use for Alembic.
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from kit.database import UNAVAILABLE, DatabaseSettings
    from kit.logs import configure_logging
    from kit.migrations import Refused, await_schema, foresee, migrate

    assert isinstance(settings, DatabaseSettings), f"{package} has no database"
    url = settings.database_url.get_secret_value()
    configure_logging(settings)
    try:
        if chosen.plan:
            print(json.dumps(foresee(url, package, wait_seconds=chosen.wait), indent=2))
        elif settings.migrations == "wait":
            await_schema(url, package, wait_seconds=chosen.wait)
        else:
            migrate(
                url,
                package,
                to=chosen.to,
                down=chosen.down,
                wait_seconds=chosen.wait,
                contract=chosen.contract,
                by=chosen.by,
            )
    except Refused as error:
        print(f"migration refused: {error}", file=sys.stderr)
        return _NEVER
    except (CommandError, SQLAlchemyError) as error:
        print(f"migration failed: {error}", file=sys.stderr)
        return _AGAIN if isinstance(error, UNAVAILABLE) else _NEVER
    return 0
