# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders: what was bought, where it stands, and what brings it on."""
