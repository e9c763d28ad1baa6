# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing keys: next -> active -> retiring -> gone, the same for every replica because the database holds them."""
