# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits on guessing: how often a client may try, how often anybody may try one account, and lock-outs."""
