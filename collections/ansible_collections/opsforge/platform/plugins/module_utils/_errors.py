# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception tree of the collection; only a module's main() turns it into a failed task."""

from __future__ import annotations

from typing import Any


class PlatformError(Exception):
    """Something the person who runs a play must know, in one sentence.

    :param facts: what else the failed task shall return, such as the writes that were done before.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.facts = facts


class NotFound(PlatformError):
    """The object, or its kind, does not exist."""


class Conflict(PlatformError):
    """Someone else changed or owns what was about to be written."""


class Forbidden(PlatformError):
    """The API server knows the caller too little, or allows it too little."""


class Unreachable(PlatformError):
    """No API server answered."""


class Invalid(PlatformError):
    """The wish itself is wrong; trying again does not help."""


class NotReady(PlatformError):
    """An object has reached a state that waiting does not cure."""


class TimedOut(PlatformError):
    """An object was still on its way when the time was up."""
