# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports: how much of what happened when."""
