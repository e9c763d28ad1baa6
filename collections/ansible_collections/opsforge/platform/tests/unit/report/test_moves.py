# SPDX-License-Identifier: GPL-3.0-or-later
"""When traffic moved, as the report finds it and marks it."""

from __future__ import annotations

import math

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _moves, _page
from ansible_collections.opsforge.platform.plugins.module_utils._moves import Move
from ansible_collections.opsforge.platform.plugins.module_utils._panels import Dashboard, graph
from ansible_collections.opsforge.platform.plugins.module_utils._series import Series, Window

from .sources import END, WINDOW, drawn, healthy, limited, look, matrix

MOMENTS = Window.of(0.025, END)  # seven moments
N = math.nan


@pytest.mark.parametrize(
    "states, moved",
    [
        ({"blue": [1, 1, 1, 1, 1, 1, 1]}, []),
        ({"blue": [1, 1, 1, N, N, N, N], "green": [N, N, N, 1, 1, 1, 1]}, [(3, "green")]),
        ({"blue": [1, 1, 1, 1, 1, N, N], "green": [N, N, N, 1, 1, 1, 1]}, [(3, "green")]),
        ({"blue": [1, 1, N, N, 1, 1, 1], "green": [N, N, 1, 1, N, N, N]}, [(2, "green"), (4, "blue")]),
        ({"blue": [1, 1, N, N, N, 1, 1]}, []),
        ({"blue": [1, 1, N, N, N, N, N], "green": [N, N, N, N, 1, 1, 1]}, [(4, "green")]),
        ({"blue": [N, N, 1, 1, 1, 1, 1]}, []),
        ({"blue": [1] * 7, "green": [1] * 7}, []),
    ],
    ids=["stays", "moves", "both are seen for a while", "and back", "a gap", "moves in a gap", "first seen", "unclear"],
)
def test_traffic_moved_when_another_slot_is_seen(states: dict[str, list[float]], moved: list[tuple[int, str]]) -> None:
    found = [
        Series({"service": "auth", "slot": slot, "version": f"{slot}-1"}, values) for slot, values in states.items()
    ]
    wanted = [Move(MOMENTS.moments[at], "auth", slot, f"{slot}-1") for at, slot in moved]
    assert _moves.moves(found, MOMENTS) == wanted


def test_no_move_is_lost_among_many() -> None:
    half = len(WINDOW.moments) // 2
    parts = (("blue", WINDOW.moments[:half]), ("green", WINDOW.moments[half:]))
    states = matrix(
        *(
            ({"service": f"s{at:03}", "slot": slot, "version": "1"}, [(moment, "1") for moment in moments])
            for slot, moments in parts
            for at in range(120)
        )
    )
    where = _moves.query("apps")
    report = look(
        graph("A", "A.", "up"),
        say=limited(lambda path, asked: states if asked.get("query") == where else healthy(path, asked)),
    )
    assert [(move.service, move.slot) for move in report.moves or ()] == [(f"s{at:03}", "green") for at in range(120)]
    page = drawn(report)
    assert "s020" in page and "s019" not in page and "20 earlier ones are not shown." in page


def test_a_dashboard_of_one_service_marks_its_moves_only() -> None:
    moves = (Move(1, "auth", "green", "2"), Move(2, "cart", "green", "2"))
    every, mine = (
        Dashboard("a", "A", "A.", (), markers=True),
        Dashboard("b", "B", "B.", (), markers=True, service="cart"),
    )
    assert _page._marked(moves, every) == [1, 2] and _page._marked(moves, mine) == [2]
    assert _page._marked(moves, Dashboard("c", "C", "C.", ())) == []
