# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-ins: a password is looked at only when the limits allow it."""
