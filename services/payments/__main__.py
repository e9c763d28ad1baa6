# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m payments`: see `kit.cli`; `reconcile` compares our book with the provider's."""

from __future__ import annotations

import sys

from kit.cli import main
from payments.settings import Settings


def reconcile(settings: Settings) -> None:
    """Run the reconciliation; imported only then."""
    from payments.reconciliation.service import main as run

    run(settings)


if __name__ == "__main__":
    commands = {"reconcile": ("compare our book with the provider's; status 1 when they differ", reconcile)}
    sys.exit(main("payments", Settings, "payments.app:create", commands=commands))
