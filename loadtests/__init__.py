# SPDX-License-Identifier: GPL-3.0-or-later
"""Load for the shop, and the walk through it that tests and load share."""
