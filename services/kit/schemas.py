# SPDX-License-Identifier: GPL-3.0-or-later
"""Input that is what it says: strict models, text that a database can store."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

from fastapi import Header
from pydantic import AfterValidator, BaseModel, ConfigDict


class Body(BaseModel):
    """A request body: unknown fields, coerced types and repeated input in errors are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def _is_text(value: str) -> str:
    # PostgreSQL stores no NUL; JSON can carry half a surrogate pair, which no encoding can.
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("not text that can be stored")
    return value


Text = Annotated[str, AfterValidator(_is_text)]
"""Text from outside, also in a path or query; give it a length: `Annotated[Text, Field(max_length=100)]`."""

_MAX_NAME = 100


def bounded(*, max_bytes: int, max_depth: int) -> AfterValidator:
    """Make the check of free JSON, `Annotated[dict[str, Any], bounded(...)]`: small, flat, fit for a jsonb column."""

    def check(value: Any, depth: int) -> None:
        if depth > max_depth:
            raise ValueError(f"more than {max_depth} levels deep")
        match value:
            case str():
                _is_text(value)
            case int() if not -(2**63) <= value < 2**63:
                raise ValueError("a whole number of more than 64 bits")
            case float() if not math.isfinite(value):
                raise ValueError("not a number")
            case list():
                for item in value:
                    check(item, depth + 1)
            case dict():
                for name, item in value.items():
                    if len(_is_text(name)) > _MAX_NAME:
                        raise ValueError(f"a name of more than {_MAX_NAME} characters")
                    check(item, depth + 1)

    def check_all(value: Any) -> Any:
        check(value, 0)
        if len(json.dumps(value, ensure_ascii=False).encode()) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        return value

    return AfterValidator(check_all)


IdempotencyKeyDep = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key asks for the same thing: however often it is sent, it is done once.",
    ),
]
