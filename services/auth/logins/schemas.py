# SPDX-License-Identifier: GPL-3.0-or-later
"""A log-in as it comes in."""

from __future__ import annotations

from auth.users.schemas import Email, Password
from kit.schemas import Body


class Login(Body):
    """A log-in. Only lengths are checked: what a password must look like is the sign-up's business."""

    email: Email
    password: Password
