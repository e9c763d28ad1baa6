# SPDX-License-Identifier: GPL-3.0-or-later
"""Events: what happened, taken in once each and counted by the minute."""
