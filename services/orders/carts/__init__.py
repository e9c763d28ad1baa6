# SPDX-License-Identifier: GPL-3.0-or-later
"""Carts: what a user means to buy."""
