# SPDX-License-Identifier: Apache-2.0
"""Results in notebooks: a table with bars, and the report page or a part of it inside a cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from ..display import bar, html_table
from ..errors import InputError
from ..files import write_whole
from ..units import format_bytes, format_time
from . import words
from .page import PARTS
from .view import clean, read_plan_view

__all__ = ["Figure", "plan_html", "require_part"]

_HEIGHTS: Final = {"page": 820, "graph": 860, "stages": 620, "what-if": 560, "search": 460}
"""Pixels of a cell; the rest scrolls."""
_HEIGHT: Final = 520


@dataclass(frozen=True, repr=False)
class Figure:
    """A page, or one section of it, that notebooks show in a frame of its own.

    The frame is sandboxed: its scripts see nothing of the notebook.
    """

    html: str
    what: str

    def save(self, path: str | Path) -> None:
        """Write it as a self-contained HTML file.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_whole(path, self.html)

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{_HEIGHTS.get(self.what, _HEIGHT)}px;border:0"
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" style="{style}" '
            f'title="Stagewright: {escape(self.what)}"></iframe>'
        )

    def __repr__(self) -> str:
        size = format_bytes(len(self.html.encode("utf-8")))
        return f"<Figure of the {self.what}, {size} of HTML; a notebook shows it, save() writes it>"


def require_part(what: str) -> None:
    """Refuse what the page does not have."""
    if what not in ("page", *PARTS):
        raise InputError("what", f"one of page, {', '.join(PARTS)}", repr(what))


def plan_html(document: Mapping[str, Any], name: str) -> str:
    """Return what a notebook shows of a plan document: the verdict, and every stage with a bar."""
    plan = read_plan_view(document)
    rows, worst = [], {stage.number for stage in plan.worst}
    for stage in plan.stages:
        parts = ", ".join(f"{part} {format_time(time)}" for part, time in stage.parts if time)
        mark = " (bottleneck)" if stage.number in worst else ""
        rows.append(
            [
                f"{stage.where}{mark}",
                f"{len(stage.nodes):,}",
                format_time(stage.total),
                bar(stage.parts, plan.bottleneck, parts),
                format_bytes(stage.param_bytes + stage.peak_bytes) if plan.has_sizes else "-",
            ]
        )
    table = html_table(["Stage", "Nodes", "Time", "", "Memory"], rows, raw=[3])
    return f"<div><b>{escape(clean(name))}</b>: {escape(words.headline(plan))}{table}</div>"
