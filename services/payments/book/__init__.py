# SPDX-License-Identifier: GPL-3.0-or-later
"""The book: what we know of each payment, and how we come to know it."""
