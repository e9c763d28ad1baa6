# SPDX-License-Identifier: GPL-3.0-or-later
"""The notifications service: tells people what became of their orders, in their inbox and by mail."""
