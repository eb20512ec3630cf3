# SPDX-License-Identifier: Apache-2.0
"""What the report asks of results: views that its sections share, and tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = [
    "CASE",
    "KNOWN",
    "VIEWS",
    "Ask",
    "Row",
    "across",
    "markdown",
    "mean",
    "number",
    "seconds",
    "share",
]

Row = dict[str, Any]
Ask = Callable[[str], list[Row]]

CASE = '"set", instance, machine, k, source_digest'

VIEWS = {
    # What is known of an instance: the best plan of any method, the best bound that is not only claimed.
    "known": f"""
        SELECT {CASE}, trim("set" || ' ' || machine) AS label, max(nodes) AS nodes, min(best) AS upper,
            coalesce(max(lower) FILTER (evidence <> 'claimed' AND method NOT LIKE '%-lp'), 0) AS lower,
            max(reduced_nodes) FILTER (method = 'plan') AS reduced, max(ideals) AS ideals,
            bool_or(method = 'plan' AND ratios.upper IS NOT NULL) AS planned
        FROM ratios WHERE best IS NOT NULL GROUP BY ALL
    """,
    # Without a run of the whole method an instance says nothing of what bounds and plans can reach.
    "cases": """SELECT * FROM known WHERE planned OR "set" NOT IN ('testbed', 'operators', 'synthetic')""",
    # One row for each method and instance, the best of its limits and seeds.
    "answers": f"""
        SELECT {CASE}, label, method, max(known.nodes) AS nodes, max(known.upper) AS best, any_value(planned) AS planned,
            max(ratios.lower) AS lower, min(ratios.upper) AS upper, sum(seconds) AS seconds,
            arg_min(seconds, time_limit) AS first_seconds, max(peak_mib) AS peak_mib, count(error) AS failed,
            any_value(details) AS details, min(close_seconds) AS close_seconds, max(time_limit) AS time_limit
        FROM ratios JOIN known USING ({CASE}) GROUP BY ALL
    """,
}
"""Queries that the sections' queries build on."""

KNOWN = "CASE WHEN upper = 0 THEN 1.0 ELSE lower / upper END"
"""The best bound over the best plan of a case."""


def mean(ratio: str) -> str:
    """Return SQL for a geometric mean."""
    # greatest() passes over what is missing, which must not count.
    return f"exp(avg(CASE WHEN ({ratio}) IS NULL THEN NULL ELSE ln(greatest({ratio}, 1e-9)) END))"


def number(value: Any, digits: int = 4) -> str:
    """Return a cell; what is missing, or no number, is a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def share(value: float | None) -> str:
    """Return a share as percent."""
    return "-" if value is None else f"{100 * value:.1f} %"


def seconds(value: float | None) -> str:
    """Return seconds with three digits."""
    return "-" if value is None else f"{value:.3g}"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; cells that are no texts are written as :func:`number` does."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(number(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def across(found: Sequence[Row], first: str, column: str, text: Callable[[Row], str]) -> str:
    """Return a table with a row for each value of `first` and a column for each value of `column`."""
    names = list(dict.fromkeys(row[first] for row in found))
    values = sorted({row[column] for row in found})
    cells = {(row[first], row[column]): text(row) for row in found}
    return markdown(
        [first, *(f"{column} = {value}" for value in values)],
        [[name, *(cells.get((name, value), "-") for value in values)] for name in names],
    )
