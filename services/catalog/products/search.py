# SPDX-License-Identifier: GPL-3.0-or-later
"""What a search means in SQL. The words only ever travel as parameters, so they are data and nothing else."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement, Integer, cast, func, literal
from sqlalchemy.dialects.postgresql import REGCONFIG, TSQUERY

from catalog.products.models import Product

_ENGLISH, _SIMPLE = (cast(literal(name), REGCONFIG) for name in ("english", "simple"))


def clean(words: str) -> str:
    """Return the search in one form, so that the same question is asked, and kept, once."""
    return " ".join(words.split()).lower()


def query(words: str) -> ColumnElement[Any]:
    """Return the tsquery: every word, in any form of it; the last may be the beginning of a word of the name."""
    whole = func.plainto_tsquery(_ENGLISH, words, type_=TSQUERY)
    # `\w` leaves no character that means something in a tsquery; the quotes are for those that split a word.
    if not (parts := re.findall(r"\w+", words)):
        return whole
    *rest, last = parts
    begun = func.to_tsquery(_SIMPLE, f"'{last}':*A", type_=TSQUERY)
    before = func.plainto_tsquery(_ENGLISH, " ".join(rest), type_=TSQUERY)
    return whole.op("||")(before.op("&&")(begun))


def rank(question: ColumnElement[Any]) -> ColumnElement[int]:
    """Return how far down a product belongs; whole numbers, for a page begins exactly where the last one ended."""
    return -cast(func.ts_rank(Product.search, question) * 1_000_000, Integer)
