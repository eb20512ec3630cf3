# SPDX-License-Identifier: Apache-2.0
"""Grids of the command bench, and the tables of their results."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import options as opt

_INTERRUPTED = 130


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what holds for grids and their results only."""
    group = parser.add_argument_group("grids: bench GRID.toml, and bench table RESULTS.parquet")
    group.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where results are, and go on (the grid's name with .parquet)",
    )
    group.add_argument(
        "--processes", type=int, metavar="N", help="runs at once (cores by threads of a run)"
    )
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on a Ray cluster; 'local' starts one (RAY_ADDRESS, else this machine's)",
    )
    group.add_argument(
        "--any-code", action="store_true", help="keep results that another version of the code made"
    )
    group.add_argument(
        "--again-open", action="store_true", help="the same, but plan again where that left a gap"
    )
    group.add_argument(
        "--by",
        metavar="set,machine",
        default="set",
        help="rows of the table: set, machine, instance, seed (set)",
    )
    group.add_argument(
        "--query", metavar="SQL", help="print what a query says of results and ratios instead"
    )


def is_grid(models: Sequence[str]) -> bool:
    """Whether what was given is a grid or results of one, not models."""
    return models[0] == "table" or any(Path(model).suffix == ".toml" for model in models)


def bench_grid(options: argparse.Namespace) -> int:
    """Run a grid or print the table of one; 1 where bounds and plans contradict each other."""
    given = options.models
    if given[0] == "table" and len(given) == 2:
        return table(given[1], options)
    if given[0] == "table" or len(given) != 1:
        expected = "models, one GRID.toml, or: table RESULTS.parquet"
        raise InputError("bench", expected, " ".join(given))
    from ..benching.driver import run_grid
    from ..benching.grid import Grid

    if options.processes is not None and options.processes < 1:
        raise InputError("--processes", "a whole number >= 1", str(options.processes))
    grid = Grid.load(given[0])
    output = options.output or Path(given[0]).with_suffix(".parquet").name
    ran = run_grid(
        grid,
        output,
        processes=options.processes,
        any_code=options.any_code or options.again_open,
        again_open=options.again_open,
        ray=options.ray,
        progress=_Reports() if sys.stderr.isatty() else None,
    )
    opt.note(
        f"{ran.runs} runs: {ran.known} known, {ran.done} done now, {ran.failed} of these failed; "
        + (f"{ran.spared} longer ones not needed; " if ran.spared else "")
        + f"written: {output}"
    )
    if ran.interrupted:
        return _INTERRUPTED
    return table(output, options)


def table(path: str, options: argparse.Namespace) -> int:
    """Print the summary, or what a query says."""
    from ..benching.tables import contradictions, query, summary

    if options.query:
        rows = query(path, options.query)
    else:
        rows = summary(path, [name.strip() for name in options.by.split(",") if name.strip()])
    wrong = contradictions(path)
    if options.json:
        sys.stdout.write(json.dumps({"rows": rows, "contradictions": wrong}, default=str) + "\n")
    else:
        print(markdown(rows))
    for row in wrong:
        opt.note(f"contradiction: {row}")
    return 1 if wrong else 0


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table in Markdown; a column that is empty throughout is left out."""
    names = [name for name in (rows[0] if rows else ()) if any(r[name] is not None for r in rows)]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row, name) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if name == "proven":
        return f"{100 * value:.1f} %"
    return f"{value:.3g}" if name in ("seconds", "seconds_most", "time_limit") else f"{value:.4f}"


class _Reports:
    """A line for each run that is done, with the time left at the pace so far."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, row: Mapping[str, Any], done: int, wanted: int) -> None:
        """Print the line of a run."""
        where = "/".join(filter(None, (row["set"], row["instance"], row["machine"])))
        said = row["error"] or f"{row['seconds']:.2f} s"
        left = (time.monotonic() - self._start) / done * (wanted - done)
        opt.note(
            f"{done}/{wanted} {where} k={row['k']} {row['method']}: {said}, about {left:.0f} s left"
        )
