# SPDX-License-Identifier: Apache-2.0
"""Bars and lines as inline SVG without any text: labels are HTML beside them.

Positions are in per cent of the width, so that a chart fits any screen; colours and patterns come
from page.css.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .markup import Html, h, join
from .view import Point

__all__ = ["patterns", "stacked_bar", "steps", "swatch"]

_HATCHES = {
    "receive": "M0,6 L6,0 M-1,1 L1,-1 M5,7 L7,5",
    "send": "M0,0 L6,6 M-1,5 L1,7 M5,-1 L7,1",
    "overflow": "M0,0 L6,6 M6,0 L0,6",
}


def patterns() -> Html:
    """Return the fills that tell parts apart without colour; once per page."""
    shapes = (
        h(
            "pattern",
            h("rect", width=6, height=6, class_=name),
            h("path", d=path, class_="hatch"),
            id=f"fill-{name}",
            width=6,
            height=6,
            patternUnits="userSpaceOnUse",
        )
        for name, path in _HATCHES.items()
    )
    return h("svg", h("defs", join(shapes)), width=0, height=0, aria_hidden="true", class_="defs")


def stacked_bar(
    parts: Iterable[tuple[str, int]], full: int, *, line: int | None = None, titles: str = ""
) -> Html:
    """Return a bar of parts, each a class and a value, on a scale from 0 to `full`.

    Parameters
    ----------
    line
        Value of a vertical line, if any.
    titles
        What to show when the pointer rests on the bar.
    """
    drawn, start = [h("title", titles)] if titles else [], 0
    for name, value in parts:
        if value:
            x, width = _percent(start, full), _percent(value, full)
            drawn.append(h("rect", x=x, width=width, height="100%", class_=f"part {name}"))
        start += value
    if line is not None:
        x = _percent(line, full)
        drawn += [h("line", x1=x, x2=x, y1=0, y2="100%", class_=c) for c in ("halo", "bound")]
    return h("svg", *drawn, class_="bar", aria_hidden="true", focusable="false")


def swatch(name: str) -> Html:
    """Return the legend's sample of a part."""
    rect = h("rect", width="100%", height="100%", class_=f"part {name}")
    return h("svg", rect, class_="swatch", aria_hidden="true")


def steps(points: Sequence[Point]) -> Html:
    """Return both bounds over time, as two staircases; at least one point."""
    end = max(p.seconds for p in points) or 1.0
    top = max(p.upper for p in points) or 1
    upper = _staircase([(p.seconds / end, p.upper / top) for p in points])
    lower = _staircase([(p.seconds / end, p.lower / top) for p in points])
    return h(
        "svg",
        h("path", d=lower, class_="lower"),
        h("path", d=upper, class_="upper"),
        viewBox="0 0 1000 300",
        preserveAspectRatio="none",
        class_="steps",
        aria_hidden="true",
    )


def _staircase(points: Sequence[tuple[float, float]]) -> str:
    x, y = points[0]
    path = [f"M{1000 * x:.1f},{300 - 295 * y:.1f}"]
    path += [f"H{1000 * x:.1f}V{300 - 295 * y:.1f}" for x, y in points[1:]]
    return "".join([*path, "H1000"])


def _percent(value: int, full: int) -> str:
    share = 100 * value / full if full > 0 else 0.0
    return f"{min(share, 100.0):.3f}".rstrip("0").rstrip(".") + "%"
