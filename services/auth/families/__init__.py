# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of refresh tokens: one for each log-in, one valid token in each, over when an old one comes back."""
