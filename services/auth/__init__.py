# SPDX-License-Identifier: GPL-3.0-or-later
"""The auth service: sign-up, log-in, and tokens that other services can check by themselves."""
