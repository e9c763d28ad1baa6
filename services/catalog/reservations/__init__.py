# SPDX-License-Identifier: GPL-3.0-or-later
"""Reservations: stock set aside for one order, until it is paid or cancelled."""
