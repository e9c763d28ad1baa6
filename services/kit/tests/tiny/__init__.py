# SPDX-License-Identifier: GPL-3.0-or-later
"""A service with an outbox and nothing else, for the tests of the events."""
