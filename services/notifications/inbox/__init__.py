# SPDX-License-Identifier: GPL-3.0-or-later
"""The inbox: what a user has been told."""
