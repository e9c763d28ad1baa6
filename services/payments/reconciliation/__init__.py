# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconciliation: our book beside the provider's, and every difference."""
