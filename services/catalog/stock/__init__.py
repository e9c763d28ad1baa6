# SPDX-License-Identifier: GPL-3.0-or-later
"""Stock: how many of a product there are, and how many of those are spoken for."""
