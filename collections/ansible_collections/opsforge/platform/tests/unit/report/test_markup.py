# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page is made of: elements, links and the words of others."""

from __future__ import annotations

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._html import element, join, link, plain


def test_text_is_escaped_and_html_is_not_escaped_again() -> None:
    assert element("p", "a<b", element("b", '"'), class_="x&y") == '<p class="x&amp;y">a&lt;b<b>&quot;</b></p>'
    assert join("<", element("i")) == "&lt;<i></i>"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//host/x", "", None, 3, "http://[", "https://x\n", " https://x"]
)
def test_only_addresses_of_the_web_are_links(url: object) -> None:
    assert link("text", url) == "text"


def test_what_others_say_is_short_and_printable() -> None:
    assert plain("a\nb\x00c\u202ed") == "a\ufffdb\ufffdc\ufffdd" and plain("x" * 400) == "x" * 300 + "…"
