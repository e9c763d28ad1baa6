# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker: does the jobs, and sees to it that none is forgotten."""
