# SPDX-License-Identifier: Apache-2.0
"""The curves of a sweep as one SVG picture, and that picture with the table as one HTML page.

Above: inferences per second against devices, with what no plan can exceed as a thin line; below: latency.  Points
worth having are filled.  The picture carries its own style, for light and dark, and needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..files import write_whole
from ..sweeping.document import csv_text
from ..units import PS_PER_SECOND, format_time, to_ps
from . import words
from .markup import Html, h, join, table
from .sweep import COLUMNS, Entry, answers_of, cells_of, families, link_of, several_links

__all__ = ["save_sweep", "sweep_page", "sweep_picture"]

_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP, _GAP = 860, 300, 84, 24, 34, 64
_SHAPES: Final = 6
_STYLE: Final = """
.sweep { color-scheme: light dark; --paper: #fff; --ink: #1a2230; --soft: #546072; --edge: #d5dbe4;
  font: 13px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; background: var(--paper); }
.sweep text { fill: var(--soft); } .sweep .title { fill: var(--ink); font-weight: 600; }
.sweep .grid { stroke: var(--edge); } .sweep .target { stroke: var(--ink); stroke-dasharray: 6 4; }
.sweep path, .sweep circle { stroke: var(--c); stroke-width: 2; fill: none; } .sweep .bound { stroke-width: 1; stroke-dasharray: 2 3; }
.sweep circle { fill: var(--paper); } .sweep circle.good { fill: var(--c); }
.c0 { --c: #2f6db5; } .c1 { --c: #b5562f; } .c2 { --c: #0b7f78; } .c3 { --c: #8a3fa8; } .c4 { --c: #8a6a00; } .c5 { --c: #b3264f; }
@media (prefers-color-scheme: dark) {
  .sweep { --paper: #12161c; --ink: #e6ebf2; --soft: #a2adbd; --edge: #343d4a; }
  .c0 { --c: #7db4f5; } .c1 { --c: #f2a27d; } .c2 { --c: #3fbdb2; } .c3 { --c: #cf9be6; } .c4 { --c: #e0bb3e; } .c5 { --c: #f57d9d; }
}
"""
_PAGE_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a2230; --edge: #d5dbe4; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --ink: #e6ebf2; --edge: #343d4a; } }
body { margin: 0 auto; max-width: 58rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
svg { max-width: 100%; height: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--edge); text-align: right; font-weight: 400; }
.marked > * { font-weight: 700; } caption { text-align: left; padding: .5rem 0; } caption small { display: block; } .scroll { overflow-x: auto; }
"""


def save_sweep(document: Mapping[str, Any], path: str | Path) -> None:
    """Write a sweep in the form that the end of the file's name asks for: .html, .svg, .csv or .json.

    Raises
    ------
    InputError
        If the name ends otherwise, or the file cannot be written.
    """
    from ..certificate.build import dumps

    writers: dict[str, Callable[[Mapping[str, Any]], str]] = {
        ".html": sweep_page,
        ".svg": sweep_picture,
        ".csv": csv_text,
        ".json": dumps,
    }
    write = writers.get(Path(path).suffix.lower())
    if write is None:
        raise InputError(str(path), f"a name that ends in {', '.join(writers)}", Path(path).name)
    write_whole(path, write(document))


def sweep_page(document: Mapping[str, Any]) -> str:
    """Return one self-contained page: the answer, the picture, the table."""
    rows = [cells_of(point) for point in document["points"]]
    head = list(COLUMNS)
    if several_links(document):
        head.insert(1, "link")
        rows = [
            [row[0], link_of(point), *row[1:]]
            for point, row in zip(document["points"], rows, strict=True)
        ]
    marked = [i for i, point in enumerate(document["points"]) if point["pareto"]]
    title = f"Sweep of {document['graph'] or 'a model'}"
    body = join(
        [
            h("h1", title),
            *(h("p", answer) for answer in answers_of(document)),
            Html(sweep_picture(document)),
            table(
                "Every point",
                head,
                rows,
                numeric=range(len(head)),
                marked=marked,
                notes="* worth having: no point with as few devices is faster",
            ),
        ]
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_PAGE_STYLE}</style></head><body>{body}</body></html>\n"
    )


def sweep_picture(document: Mapping[str, Any]) -> str:
    """Return the picture as the text of an SVG file."""
    groups = families(document["points"])
    points = [point for _, group in groups for point in group]
    height = _TOP + 2 * _PANEL + _GAP + 46
    drawn: list[str] = []
    if points:
        devices = [int(point["stages"]) for point in points]
        target = float(document["target_rate"]) if "target_rate" in document else None
        rates = _Panel(
            "inferences per second",
            _TOP,
            devices,
            [*map(_rate, points), *([target] if target else [])],
            words.number,
        )
        latency = _Panel(
            "latency",
            _TOP + _PANEL + _GAP,
            devices,
            [float(point["latency"]) for point in points],
            lambda value: format_time(round(value * PS_PER_SECOND)),
        )
        drawn += [*rates.frame(), *latency.frame()]
        if target:
            drawn.append(rates.level(target))
        for number, (_, group) in enumerate(groups):
            inside = [
                rates.line([(p["stages"], _ceiling(p)) for p in group if _ceiling(p)], "bound"),
                rates.line([(p["stages"], _rate(p)) for p in group]),
                latency.line([(p["stages"], float(p["latency"])) for p in group]),
                *(rates.dot(p, _rate(p)) for p in group),
                *(latency.dot(p, float(p["latency"])) for p in group),
            ]
            drawn.append(h("g", *map(Html, inside), class_=f"c{number % _SHAPES}"))
        drawn += _legend(groups)
        drawn.append(
            h("text", "devices", x=(_WIDTH + _LEFT) // 2, y=height - 10, text_anchor="middle")
        )
    label = f"Rate and latency of {document['graph'] or 'a model'} against the number of devices"
    content = "".join([f"<style>{_STYLE}</style>", *drawn])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sweep" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{escape(label)}">{content}</svg>\n'
    )


def _legend(groups: Sequence[tuple[str, Sequence[Entry]]]) -> list[str]:
    if len(groups) < 2:
        return []
    entries = []
    for number, (name, _) in enumerate(groups):
        x = _WIDTH - _RIGHT - 110 * (len(groups) - number)
        key = h("path", d=f"M{x},14h22")
        entries.append(h("g", key, h("text", name, x=x + 28, y=18), class_=f"c{number % _SHAPES}"))
    return [str(entry) for entry in entries]


def _rate(point: Entry) -> float:
    return PS_PER_SECOND / to_ps(point["period"])


def _ceiling(point: Entry) -> float:
    """Return the rate that no plan can exceed, or 0 where nothing is proven."""
    lower = to_ps(point["lower_bound"])
    # A weak bound would push everything else to the floor.
    return min(PS_PER_SECOND / lower, 1.25 * _rate(point)) if lower else 0.0


class _Panel:
    """A frame with axes: devices along it, some quantity from 0 upwards."""

    def __init__(
        self,
        title: str,
        top: int,
        devices: Sequence[int],
        values: Sequence[float],
        name: Callable[[float], str],
    ) -> None:
        self.title, self.top, self.name = title, top, name
        self.low, self.high = min(devices), max(devices)
        self.step = _step(max(values))
        self.most = self.step * math.ceil(max(values) / self.step * 1.02)

    def x(self, devices: float) -> float:
        span = max(1, self.high - self.low)
        return _LEFT + 14 + (devices - self.low) / span * (_WIDTH - _LEFT - _RIGHT - 28)

    def y(self, value: float) -> float:
        return self.top + _PANEL * (1 - min(value, self.most) / self.most)

    def frame(self) -> list[str]:
        parts = [h("text", self.title, x=_LEFT, y=self.top - 10, class_="title")]
        for i in range(round(self.most / self.step) + 1):
            y = f"{self.y(i * self.step):.1f}"
            parts.append(h("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
            label = self.name(i * self.step) if i else "0"
            parts.append(h("text", label, x=_LEFT - 8, y=y, dy=4, text_anchor="end"))
        every = max(1, math.ceil((self.high - self.low) / 16))
        for k in range(self.low, self.high + 1, every):
            place = {"x": f"{self.x(k):.1f}", "y": str(self.top + _PANEL + 18)}
            parts.append(h("text", str(k), **place, text_anchor="middle"))
        return [str(part) for part in parts]

    def line(self, points: Sequence[tuple[float, float]], kind: str = "") -> str:
        path = "L".join(f"{self.x(k):.1f},{self.y(v):.1f}" for k, v in points)
        return str(h("path", d=f"M{path}", class_=kind or None)) if len(points) > 1 else ""

    def level(self, value: float) -> str:
        y = f"{self.y(value):.1f}"
        return str(h("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="target"))

    def dot(self, point: Entry, value: float) -> str:
        cells = cells_of(point)
        told = (
            f"{cells[0].lstrip('*')} devices, {cells[1]} used: {cells[3]}, latency {cells[4]}, "
            + (cells[5] if cells[5] == "optimal" else f"gap {cells[5]}")
        )
        return str(
            h(
                "circle",
                h("title", told),
                cx=f"{self.x(point['stages']):.1f}",
                cy=f"{self.y(value):.1f}",
                r=4,
                class_="good" if point["pareto"] else None,
            )
        )


def _step(most: float) -> float:
    """Return a round step that divides 0 to `most` into about five."""
    rough = max(most, 1e-12) / 5
    power: float = 10.0 ** math.floor(math.log10(rough))
    return float(next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999))
