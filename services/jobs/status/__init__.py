# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the queue: how many wait, how long, and who works."""
