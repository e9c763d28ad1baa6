# SPDX-License-Identifier: GPL-3.0-or-later
"""The analytics service: takes in what happened, counts it by the minute, and answers how much of it there was."""
