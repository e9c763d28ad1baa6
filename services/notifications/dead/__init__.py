# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead: what could not be delivered or understood, to look at and to try again."""
