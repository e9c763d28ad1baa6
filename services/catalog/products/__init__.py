# SPDX-License-Identifier: GPL-3.0-or-later
"""Products: what is for sale."""
