# SPDX-License-Identifier: Apache-2.0
"""How notebooks show graphs and plans: small HTML tables that fit light and dark themes.

Styles are inline, since an output of a notebook has no style sheet of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Protocol

from .units import format_bytes, format_time

__all__ = ["bar", "graph_html", "html_table", "stages_html"]

_MOST_ROWS = 8
_CELL = "padding:.15em .7em;border:0;text-align:{}"
_COLOURS = {
    "receive": "#c98a1b",
    "work": "#3f7fd0",
    "send": "#1f958c",
    "overflow": "#d9534f",
}


class Graph(Protocol):
    """What is shown of a cost graph."""

    @property
    def name(self) -> str: ...
    @property
    def node_ops(self) -> Sequence[str]: ...
    @property
    def work(self) -> Any: ...
    @property
    def param_bytes(self) -> Any: ...
    @property
    def num_nodes(self) -> int: ...
    @property
    def num_tensors(self) -> int: ...
    @property
    def total_work(self) -> int: ...


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, raw: Sequence[int] = ()
) -> str:
    """Return a table; the first column is set to the left, numbers to the right.

    `raw` names the columns that are markup already.
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        made = (
            f'<{tag} style="{_CELL.format("left" if i == 0 or i in raw else "right")}">'
            f"{cell if i in raw and tag == 'td' else escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return (
        '<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">'
        f"<thead>{line('th', head)}</thead><tbody>{body}</tbody></table>"
    )


def bar(parts: Iterable[tuple[str, int]], full: int, title: str = "") -> str:
    """Return a bar of parts on a scale from 0 to `full`; parts are named as in stage costs."""
    pieces = "".join(
        f'<span style="display:inline-block;height:100%;vertical-align:top;width:{100 * value / full:.2f}%;'
        f'background:{_COLOURS.get(name, _COLOURS["work"])}"></span>'
        for name, value in parts
        if value and full > 0
    )
    return (
        f'<span title="{escape(title)}" style="display:inline-block;width:16em;height:.8em;'
        f'white-space:nowrap;background:rgba(128,128,128,.18)">{pieces}</span>'
    )


def graph_html(graph: Graph) -> str:
    """Return what a notebook shows of a graph: its size, and where its work is."""
    work: dict[str, tuple[int, int]] = {}
    for op, time in zip(graph.node_ops, graph.work.tolist(), strict=True):
        nodes, total = work.get(op, (0, 0))
        work[op] = nodes + 1, total + time
    ranked = sorted(work.items(), key=lambda item: (-item[1][1], -item[1][0], item[0]))
    shown, rest = ranked[:_MOST_ROWS], ranked[_MOST_ROWS:]
    if rest:
        others = (sum(n for _, (n, _) in rest), sum(t for _, (_, t) in rest))
        shown.append((f"{len(rest)} others", others))
    most = max((total for _, (_, total) in shown), default=0)
    rows = [
        [op or "(no operator)", f"{nodes:,}", format_time(total), bar([("work", total)], most)]
        for op, (nodes, total) in shown
    ]
    params = int(graph.param_bytes.sum())
    facts = [
        _count(graph.num_nodes, "node"),
        _count(graph.num_tensors, "tensor"),
        *([f"{format_bytes(params)} of parameters"] if params else []),
        f"{format_time(graph.total_work)} of work" if graph.total_work else "no work yet",
    ]
    table = html_table(["Operator", "Nodes", "Work", ""], rows, raw=[3])
    return f"<div><b>{escape(graph.name)}</b>: {', '.join(facts)}{table}</div>"


def stages_html(stages: Sequence[Sequence[int]]) -> str:
    """Return what a notebook shows of a plan without its graph."""
    most = max(map(len, stages), default=0)
    rows = [
        [str(i), f"{len(nodes):,}", bar([("work", len(nodes))], most)]
        for i, nodes in enumerate(stages)
    ]
    total = sum(map(len, stages))
    table = html_table(["Stage", "Nodes", ""], rows, raw=[2])
    return (
        f"<div><b>Plan</b>: {_count(total, 'node')} in {_count(len(stages), 'stage')}{table}</div>"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
