# SPDX-License-Identifier: GPL-3.0-or-later
"""A job: what was asked for, how far it is, what came of it."""
