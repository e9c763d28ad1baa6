# SPDX-License-Identifier: GPL-3.0-or-later
"""The payments service: asks a provider for money once for each order, and believes no one who can't sign."""
