# SPDX-License-Identifier: Apache-2.0
"""The table of a sweep and its answer in words, from its document only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..units import PS_PER_SECOND, format_rate, format_time, to_ps
from . import words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = [
    "answers_of",
    "cells_of",
    "families",
    "link_of",
    "several_links",
    "sweep_headline",
    "sweep_table",
]

Entry = Mapping[str, Any]


def sweep_headline(document: Mapping[str, Any]) -> Text:
    """Return the answer to the target, how far the proofs got, and what is missing."""
    from rich.text import Text

    lines = answers_of(document)
    text = Text("\n".join(lines), style="bold green" if _answered(document) else "bold yellow")
    points = document["points"]
    proven = sum(point["status"] in ("optimal", "infeasible") for point in points)
    rest = f"{proven} of {len(points)} points are proven"
    rest += f"; took {float(document['seconds']):.3g} s."
    if document["interrupted"]:
        rest += " Interrupted: points may be missing."
    return text.append(("\n" if lines else "") + rest, style="not bold default")


def answers_of(document: Mapping[str, Any]) -> list[str]:
    """Return one sentence per kind of machine on how many devices the target takes; none without a target."""
    if "target_rate" not in document:
        return []
    target = f"{words.number(float(document['target_rate']))} inferences/s"
    several = len(document["answers"]) > 1
    return [
        f"{link_of(answer) + ': ' if several else ''}{_answer(answer, target)}"
        for answer in document["answers"]
    ]


def _answer(answer: Mapping[str, Any], target: str) -> str:
    devices, least = answer["devices"], answer["at_least"]
    if devices is not None:
        if answer["proven"]:
            few = "" if devices == 1 else f" (proven: {devices - 1} cannot do)"
            return f"{target} take {_count(devices)}{few}."
        return f"{target}: {_count(devices)} suffice, fewer than {least} cannot do (proven); in between is open."
    if answer["never"]:
        return f"No number of such devices reaches {target}: some part of the model alone takes longer."
    best = (
        "" if answer["period"] is None else f"; the best is {words.rate(to_ps(answer['period']))}"
    )
    return f"{target} are not reached{best}. At least {_count(least)} are needed."


def _count(devices: int) -> str:
    return f"{devices} device" if devices == 1 else f"{devices} devices"


def _answered(document: Mapping[str, Any]) -> bool:
    return all(answer["proven"] for answer in document.get("answers", ()))


def link_of(entry: Entry) -> str:
    """Name the link of a point or of an answer."""
    return "-" if entry["bandwidth"] is None else format_rate(int(entry["bandwidth"]))


def several_links(document: Mapping[str, Any]) -> bool:
    """Whether there are several kinds of machines."""
    return len({point["bandwidth"] for point in document["points"]}) > 1


COLUMNS = ("devices", "used", "period", "rate", "latency", "gap")


def cells_of(point: Entry) -> list[str]:
    """Return the cells of a point under `COLUMNS`."""
    devices = f"{'*' if point['pareto'] else ''}{point['stages']}"
    if point["period"] is None:
        no_plan = "none (proven)" if point["status"] == "infeasible" else "none found"
        return [devices, no_plan, "-", "-", "-", "-"]
    upper, lower = to_ps(point["period"]), to_ps(point["lower_bound"])
    rate = words.number(PS_PER_SECOND / upper) if upper else "-"
    gap = words.gap_text(upper, lower) if lower else "unknown"
    if upper == lower:
        gap = "optimal"
    latency = format_time(to_ps(point["latency"]))
    return [devices, str(point["devices"]), format_time(upper), f"{rate}/s", latency, gap]


def sweep_table(document: Mapping[str, Any]) -> RenderableType:
    """Return one row per point, its rate as a bar, as wide as there is room for."""
    from .terminal_parts import Fitted

    return Fitted(lambda width: _table(document, width))


def _table(document: Mapping[str, Any], width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from .terminal_parts import Bar

    points = document["points"]
    rows = [cells_of(point) for point in points]
    titles = list(COLUMNS)
    if several_links(document):
        titles.insert(0, "link")
        rows = [[link_of(point), *cells] for point, cells in zip(points, rows, strict=True)]
    fixed = sum(max([len(title), *(len(row[i]) for row in rows)]) for i, title in enumerate(titles))
    room = min(40, width - fixed - 2 * len(titles) - 1)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    if room >= 8:
        table.add_column("rate", width=room)
    rates = [_rate(point) for point in points]
    for point, row, rate in zip(points, rows, rates, strict=True):
        cells: list[RenderableType] = [Text(cell) for cell in row]
        if room >= 8:
            cells.append(Bar([("work", rate)], max(rates)))
        table.add_row(*cells, style="bold" if point["pareto"] else "dim")
    table.caption = "* worth having: no point with as few devices is faster" if any(rates) else None
    table.caption_justify = "left"
    return table


def _rate(point: Entry) -> int:
    """Return inferences in a million seconds."""
    period = 0 if point["period"] is None else to_ps(point["period"])
    return PS_PER_SECOND * 10**6 // period if period else 0


def families(points: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """Return the points that have a plan by their link, each with its name."""
    found: dict[str, list[Entry]] = {}
    for point in points:
        if point["period"]:
            found.setdefault(link_of(point), []).append(point)
    return list(found.items())
