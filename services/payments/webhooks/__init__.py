# SPDX-License-Identifier: GPL-3.0-or-later
"""Webhooks: what the provider tells us of its own accord, each event once."""
