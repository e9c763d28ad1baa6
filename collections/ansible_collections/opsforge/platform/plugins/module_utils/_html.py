# SPDX-License-Identifier: GPL-3.0-or-later
"""HTML by elements: text is escaped unless it is HTML that was made here, so nothing from outside becomes markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import urlsplit

_SHOWN = 300  # characters of a text from outside


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str) -> Html:
    """One element. A trailing underscore of an attribute's name is dropped, one within it is a dash."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{given}>{join(*content)}</{name}>")


def join(*content: str) -> Html:
    """Several pieces as one; those that are no HTML are escaped."""
    return Html("".join(piece if isinstance(piece, Html) else escape(piece, quote=True) for piece in content))


def plain(text: object, shown: int = _SHOWN) -> str:
    """What somebody else says, short, and without signs that change how what stands around it is read."""
    line = str(text)
    cut = f"{line[:shown]}…" if len(line) > shown else line
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)


def link(text: str, url: object) -> Html:
    """The text, as a link if the address is one of the web."""
    try:
        usable = (
            isinstance(url, str) and urlsplit(url).scheme in ("http", "https") and url.isprintable() and " " not in url
        )
    except ValueError:
        usable = False
    return element("a", text, href=str(url), rel="noopener noreferrer") if usable else join(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, label: str = "", **attributes: str) -> Html:
    """A table that scrolls by itself where the page is narrow; cells that are Html stay so.

    :param label: what it is, for those who come to it by keyboard; without one it is no stop on their way.
    """
    first = element("tr", *(element("th", cell, scope="col") for cell in head))
    lines = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    whole = element("table", element("thead", first), element("tbody", *lines), **attributes)
    stop = {"tabindex": "0", "role": "region", "aria_label": label} if label else {}
    return element("div", whole, class_="scroll", **stop)
