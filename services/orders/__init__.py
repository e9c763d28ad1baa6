# SPDX-License-Identifier: GPL-3.0-or-later
"""The orders service: carts, checkout, and a driver that brings every order to an end."""
