# SPDX-License-Identifier: Apache-2.0
"""Figures that pages repeat are those of docs/benchmarks.md, which benchmarks print."""

from __future__ import annotations

import re

import pytest

from manual_pages import DOCS, ROOT

BENCHMARKS = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
NAMES = {
    "stagewright": "ours",
    "equal numbers of layers": "equal layers",
    "equal parameter bytes": "equal parameter bytes",
    "equal work": "equal work",
    "METIS": "METIS, repaired",
    "the model's own order": "one order sliced",
    "CP-SAT": "CP-SAT",
    "HiGHS": "HiGHS",
}


def rows_below(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    rest = text[text.index(heading) + len(heading) :]
    rows = re.match(r"[^|]*((?:\|.*\n)+)", rest)
    assert rows, f"there is no table below '{heading}'"
    return [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows[1].splitlines()]


def table_below(text: str, heading: str) -> dict[str, list[str]]:
    """Return the same by the first cell of each row."""
    return {row[0]: row[1:] for row in rows_below(text, heading)}


def ratio(row: list[str]) -> str:
    """Write "geometric mean (largest)" of a row of the peers' table, - where no case has a plan."""
    mean, largest = row[2], row[3]
    if mean == "-":
        return "-"
    text = f"{float(mean):.2f}"
    return text if largest == "1.0000" else f"{text} ({float(largest):.2f})"


def proof(row: list[str]) -> str:
    """Write "lower / upper, proven" of a row of the peers' table."""
    return "none" if row[6] == "-" else f"{float(row[6]):.2f}, {row[7]} %"


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_alternatives_is_the_measured_one(name: str) -> None:
    readme = table_below(
        (ROOT / "README.md").read_text(encoding="utf-8"), "## Against the alternatives"
    )
    (row,) = [cells for first, cells in readme.items() if first.strip("*").startswith(name)]
    published = table_below(BENCHMARKS, "### published: 8 cases")[NAMES[name]]
    wide = table_below(BENCHMARKS, "### wide: 12 cases")[NAMES[name]]
    some = f", {wide[0]} of 12" if wide[0] not in ("0", "12") else ""
    # What has no proof of its own in any case has none for wide graphs either.
    last = "none" if proof(published) == "none" else proof(wide)
    assert row == [ratio(published), proof(published), ratio(wide) + some, last]


def test_the_remarks_below_it_are_measured() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    rows = table_below(BENCHMARKS, "### published: 8 cases")
    assert f"equal work happens to be optimal in {rows['equal work'][4]} of the 8" in readme
    assert f"cut optimally, in {rows['one order sliced'][4]} of the 8" in readme
    assert f"CP-SAT finds the optimum in {rows['CP-SAT'][4]}, HiGHS in {rows['HiGHS'][4]}" in readme
    instances = rows_below(BENCHMARKS, "## Published workloads")
    times = [int(row[-1]) for row in instances if re.fullmatch(r"\d+", row[-1])]
    said = re.search(r"\((\d+) cases\), it takes ([\d,]+) to ([\d,]+) times", readme)
    assert said
    assert [int(text.replace(",", "")) for text in said.groups()] == [
        len(times),
        min(times),
        max(times),
    ]


def test_errors_of_costs_are_the_measured_ones() -> None:
    page = table_below(
        (DOCS / "costs.md").read_text(encoding="utf-8"), "## How far off they can be"
    )
    heading = "Mean absolute error (largest) of predicted / measured:"
    measured = table_below(BENCHMARKS, heading)
    for row in ("whole models", "stages"):
        assert page[row] == measured[row]
