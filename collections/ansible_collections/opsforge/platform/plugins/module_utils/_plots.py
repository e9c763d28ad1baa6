# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of series: SVG to stand in a page, drawn by matplotlib, colored by the page.

Nothing from outside is written into a picture: names of series stand beside it, as text of the page.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound
from ansible_collections.opsforge.platform.plugins.module_utils._panels import CRITICAL, HEATMAP, Panel
from ansible_collections.opsforge.platform.plugins.module_utils._series import Series, Window
from ansible_collections.opsforge.platform.plugins.module_utils._units import COUNT

COLORS = 12  # series of a picture at the most: each has a color of its own
# A series with the number of its color.
Colored = tuple[int, Series]
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_HUGE = 1e100
_SIZE = (420, 180)  # points
_AXES = (0.135, 0.125, 0.82, 0.835)  # left, bottom, width, height, of the whole
_TICK_SECONDS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
# Any: the stubs of matplotlib name each of its settings as a literal.
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "opsforge",
    "font.size": 10.5,
    "axes.linewidth": 0.6,
    "text.parse_math": False,
    "path.simplify_threshold": 0.2,
}
# Colours that mean a variable of the page's style sheet: matplotlib knows no others, and a page has a dark side.
_INK, _GRID, _WARNING, _CRITICAL, _MARKER = (f"#ab02{at:02x}" for at in range(5))
_NAMES = {_INK: "ink", _GRID: "grid", _WARNING: "warning", _CRITICAL: "critical", _MARKER: "marker"}
_SERIES = [f"#ab01{at:02x}" for at in range(COLORS)]
_NAMES |= {color: f"s{at}" for at, color in enumerate(_SERIES)}
_COLOR = re.compile("|".join(_NAMES))
_NUMBER = re.compile(r"-?\d+\.\d+")
_FONT = re.compile(r"font(-size|-family)?:[^;]+;?\s*")
_REFERENCE = re.compile(r"#([\w-]+)")


@dataclass
class Plotter:
    """Draws one picture after the other on the same sheet. Raises NotFound where matplotlib is not installed."""

    _figure: Any = field(init=False)
    _matplotlib: Any = field(init=False)

    def __post_init__(self) -> None:
        try:
            import matplotlib
            from matplotlib.figure import Figure
        except ImportError as error:
            raise NotFound("the plots need the Python package matplotlib: pip install matplotlib") from error
        self._matplotlib = matplotlib
        with matplotlib.rc_context(_RC):
            self._figure = Figure(figsize=(_SIZE[0] / 72, _SIZE[1] / 72), dpi=72)

    def draw(
        self,
        panel: Panel,
        found: Sequence[Colored],
        window: Window,
        moves: Iterable[float] = (),
        *,
        name: str,
        tells: str,
    ) -> str:
        """One panel as SVG.

        :param moves: moments to mark, seconds since the epoch.
        :param name: what the ids in it begin with; no other picture of the page has it.
        :param tells: what somebody who cannot see it is told.
        """
        with self._matplotlib.rc_context(_RC), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._figure.clear()
            axes = self._figure.add_axes(_AXES)
            (_heat if panel.kind == HEATMAP else _lines)(axes, panel, found, window)
            _time_axis(axes, window)
            for moment in moves:
                axes.axvline(moment, color=_MARKER, linewidth=1, linestyle=(0, (4, 2)), zorder=3)
            drawn = io.BytesIO()
            self._figure.savefig(drawn, format="svg", transparent=True)
        return _inline(drawn.getvalue(), name, panel.title, tells)


def _heat(axes: Any, panel: Panel, found: Sequence[Colored], window: Window) -> None:
    """How many fell between two bounds, moment by moment: the darker, the more."""
    bounds = sorted(((_bound(series), series) for _, series in found), key=lambda pair: pair[0])
    rows: list[list[float]] = []
    below: Sequence[float] = [0.0] * len(window.moments)
    for _, series in bounds:
        rows.append([max(upper - lower, 0.0) for upper, lower in zip(series.values, below, strict=True)])
        below = [0.0 if math.isnan(value) else value for value in series.values]
    # Bounds that nothing ever reached would only make the rest small.
    used = [at for at, row in enumerate(rows) if any(value > 0 for value in row)]
    first, last = (used[0], used[-1]) if used else (0, len(rows) - 1)
    # What is left of a subtraction of what is extrapolated is nothing.
    least = max((value for row in rows for value in row if math.isfinite(value)), default=0.0) / 1000
    shown = [[value if least < value < _HUGE else math.nan for value in row] for row in rows[first : last + 1]]
    left, right = window.start - window.step / 2, window.end + window.step / 2
    axes.imshow(
        shown,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap="plasma_r",
        extent=(left, right, 0, len(shown)),
    )
    every = math.ceil(len(shown) / 6)
    marks = [(at + 1, panel.unit.text(bounds[first + at][0])) for at in range(0, len(shown), every)]
    axes.set_yticks([at for at, _ in marks], [text for _, text in marks])
    _style(axes)


def _lines(axes: Any, panel: Panel, found: Sequence[Colored], window: Window) -> None:
    moments = window.moments
    # What is infinite, or nearly, has no place on an axis; the numbers beside the picture say it.
    rows = [[value if abs(value) < _HUGE else math.nan for value in series.values] for _, series in found]
    colors = [color for color, _ in found]
    if panel.stacked and len(rows) > 1:
        below = [0.0] * len(moments)
        for at, row in enumerate(rows):
            upper = [low + (0.0 if math.isnan(value) else value) for low, value in zip(below, row, strict=True)]
            axes.fill_between(moments, below, upper, color=_SERIES[colors[at]], alpha=0.4, linewidth=0)
            # The edge of nothing would hide the edge of what is below.
            rows[at] = [high if value > 0 else math.nan for value, high in zip(row, upper, strict=True)]
            below = upper
    for at, row in enumerate(rows):
        # The second six are dashed, for eyes that tell colors badly.
        style = "-" if colors[at] < COLORS // 2 else (0, (5, 1.5))
        axes.plot(
            moments, row, color=_SERIES[colors[at]], linewidth=1.4, linestyle=style, solid_joinstyle="round", zorder=4
        )
        alone = [(moment, value) for moment, value in _alone(moments, row)]
        if alone:
            axes.plot(
                *zip(*alone, strict=True),
                color=_SERIES[colors[at]],
                linestyle="none",
                marker="o",
                markersize=2.5,
                zorder=4,
            )
    _value_axis(axes, panel, [value for row in rows for value in row if not math.isnan(value)])
    _style(axes)


def _value_axis(axes: Any, panel: Panel, values: Sequence[float]) -> None:
    high, low = max(values, default=0.0), min(values, default=0.0)
    top = panel.top if panel.top is not None and high <= panel.top else high * 1.1
    for threshold in panel.thresholds:
        # One far away would press the series flat: the words under the picture name it.
        if threshold.value <= max(top, 0) * 3 or not values:
            top = max(top, threshold.value * 1.1)
            color = _CRITICAL if threshold.severity == CRITICAL else _WARNING
            axes.axhline(threshold.value, color=color, linewidth=1, linestyle=(0, (6, 3)), zorder=2)
    top = top if top > 0 else 1.0
    bottom = min(low * 1.1, 0.0)
    axes.set_ylim(bottom, top)
    divisor, sign = panel.unit.scale(max(top, -bottom))
    from matplotlib.ticker import MaxNLocator

    # Half a pod is none.
    whole = panel.unit is COUNT and top >= 2 and all(value == int(value) for value in values)
    locator = MaxNLocator(4, steps=(1, 2, 2.5, 5, 10), integer=whole)
    ticks = [tick * divisor for tick in locator.tick_values(bottom / divisor, top / divisor)]
    ticks = [tick for tick in ticks if bottom <= tick <= top]
    space = "" if sign in ("", "%") else " "
    axes.set_yticks(ticks, [f"{tick / divisor:.6g}{space}{sign}" for tick in ticks])


def _time_axis(axes: Any, window: Window) -> None:
    length = window.end - window.start
    step = next((step for step in _TICK_SECONDS if length / step <= 6), _TICK_SECONDS[-1])
    first = math.ceil(window.start / step) * step
    ticks = [first + at * step for at in range(int((window.end - first) // step) + 1)]
    form = "%H:%M" if length <= 129600 else ("%d %b %H:%M" if step < 86400 else "%d %b")
    axes.set_xticks(ticks, [datetime.fromtimestamp(tick, UTC).strftime(form) for tick in ticks])
    axes.set_xlim(window.start, window.end)


def _style(axes: Any) -> None:
    axes.grid(axis="y", color=_GRID, linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(color=_GRID, labelcolor=_INK, length=3, width=0.6)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(_GRID)


def _alone(moments: Sequence[float], row: Sequence[float]) -> Iterable[tuple[float, float]]:
    """The points with a gap on both sides: a line through one point has no length."""
    for at, value in enumerate(row):
        before = math.isnan(row[at - 1]) if at else True
        after = math.isnan(row[at + 1]) if at + 1 < len(row) else True
        if before and after and not math.isnan(value):
            yield moments[at], value


def _bound(series: Series) -> float:
    try:
        return float(series.labels.get("le", "nan"))
    except ValueError:
        return math.nan


def _inline(drawn: bytes, name: str, title: str, tells: str) -> str:
    """Matplotlib's document as an element of a page: its colors are the page's, its ids nobody else's."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(drawn)
    referred = {ref for node in root.iter() for value in node.attrib.values() for ref in _REFERENCE.findall(value)}
    for parent in root.iter():
        for child in list(parent):
            # The metadata hold the date, so that the same numbers would not be the same bytes, and a style sheet in a
            # picture would be one of the whole page.
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for node in root.iter():
        for key, value in list(node.attrib.items()):
            if key == "id":
                if value in referred:
                    node.set(key, f"{name}-{value}")
                else:
                    del node.attrib[key]
                continue
            value = _COLOR.sub(lambda found: f"var(--{_NAMES[found[0]]})", value)
            if key.endswith("href") or "url(#" in value:
                value = _REFERENCE.sub(lambda found: f"#{name}-{found[1]}" if found[1] in referred else found[0], value)
            if key == "d":
                value = " ".join(_NUMBER.sub(lambda found: f"{float(found[0]):.1f}", value).split())
            if key == "style" and node.tag == f"{{{_SVG}}}text":
                value = _FONT.sub("", value)
            node.set(key, value)
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-labelledby": f"{name}-t {name}-d"}
    for at, (tag, text) in enumerate((("title", title), ("desc", tells))):
        node = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag[0]}"})
        node.text = text
        root.insert(at, node)
    return ElementTree.tostring(root, encoding="unicode")
