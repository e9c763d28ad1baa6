# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog service: what is for sale, how much of it is there, and what is set aside for orders."""
