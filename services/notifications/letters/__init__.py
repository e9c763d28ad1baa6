# SPDX-License-Identifier: GPL-3.0-or-later
"""Letters: from an event to the words that a person reads."""
