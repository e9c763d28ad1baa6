# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue in Redis: one stream for each lane, taskiq's messages in it, at-least-once delivery."""
