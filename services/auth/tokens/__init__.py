# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens: proof of a log-in that others can check."""
