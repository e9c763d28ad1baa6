# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivery: each notification on its way, until it has arrived or is dead."""
