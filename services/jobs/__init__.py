# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs service: work that is accepted now and done soon, at least once, with an effect that happens once."""
