# SPDX-License-Identifier: GPL-3.0-or-later
"""The same endpoint three times: as little as can be, as people build it by the framework's guide, and with our kit.

Each module has `app`; `_serve.py` runs one of them, in an interpreter of its own.
"""
