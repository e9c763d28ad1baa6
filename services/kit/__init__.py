# SPDX-License-Identifier: GPL-3.0-or-later
"""What every service is made of: settings, logs, metrics, health, drain, errors, two servers.

A service calls `create_app(settings, ...)` and `serve(app)`; the rest follows from its settings.
"""

from __future__ import annotations

from kit.app import create_app
from kit.problems import Problem, problems
from kit.server import serve
from kit.settings import Settings, load_settings

__all__ = ["Problem", "Settings", "create_app", "load_settings", "problems", "serve"]
