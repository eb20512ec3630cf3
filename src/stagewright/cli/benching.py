# SPDX-License-Identifier: Apache-2.0
"""The command bench: how good plans are, and how fast, on models of your own."""

from __future__ import annotations

import argparse
import math
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InfeasibleError, LimitError, StagewrightError
from . import grids
from . import options as opt
from .live import live_view

if TYPE_CHECKING:
    from rich.table import Table

    from ..api import Result

_INTERRUPTED = 130


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser("bench", help="plan several models, and say how good and how fast")
    opt.add_model_options(parser, several=True)
    opt.add_machine_options(parser, several=True)
    opt.add_search_options(parser)
    grids.add_options(parser)
    opt.add_json_option(parser)
    parser.set_defaults(command=bench, time_limit=10.0)


def bench(options: argparse.Namespace) -> int:
    """Plan every model for every number of stages, each on its own; show one row each and a summary; or run a grid."""
    from .. import api, sweeps
    from ..certificate.build import dumps

    if grids.is_grid(options.models):
        return grids.bench_grid(options)
    counts = sweeps.parse_stages(options.stages)
    machine = opt.machine_options(options)
    rows: list[dict[str, Any]] = []
    interrupted = False
    total = len(options.models) * len(counts)
    began = time.monotonic()
    for model in options.models:
        options.model = model
        source = opt.source_of(options)
        graph = opt.graph_of(source, options, shaped=False)
        for stages in counts:
            title = f"{len(rows) + 1} of {total}: {Path(model).name}, {stages} stages"
            ahead = _ahead(time.monotonic() - began, len(rows), total)
            try:
                with live_view(options.time_limit, f"{ahead}{title}") as live:
                    result = api.plan(
                        graph,
                        stages,
                        **machine,
                        count_graph_io=options.count_graph_io,
                        time_limit=options.time_limit,
                        seed=options.seed,
                        threads=options.threads,
                        source=source,
                        progress=live,
                        granularity=source.granularity,
                        constraints=source.constraints,
                    )
            except (InfeasibleError, LimitError) as error:
                opt.note(f"{title}: {error}")
                rows.append(_row_without_plan(model, graph.num_nodes, stages, error))
                continue
            rows.append(_row(model, result))
            interrupted = result.solution.stopped_because == "interrupted"
            if interrupted:
                break
        if interrupted:
            break
    document = {"rows": rows, **_summary(rows), "interrupted": interrupted}
    if options.json:
        sys.stdout.write(dumps(document))
    else:
        opt.show(_table(rows), _words(document))
    return _INTERRUPTED if interrupted else 0


def _ahead(elapsed: float, done: int, total: int) -> str:
    """Return how long all plans together will still take, if they take as long as those that are done."""
    return f"about {elapsed / done * (total - done):.0f} s left for all, " if done else ""


def _row(model: str, result: Result) -> dict[str, Any]:
    document, solution = result.to_json(), result.solution
    return {
        "model": model,
        "nodes": solution.nodes,
        "reduced_nodes": solution.reduced_nodes,
        "stages": result.machine.stages,
        "bottleneck": document["bottleneck"],
        "lower_bound": document["lower_bound"],
        "gap": document["gap"],
        "status": document["status"],
        "seconds": Decimal(f"{solution.seconds:.6f}"),
        "stopped_because": solution.stopped_because,
    }


def _row_without_plan(
    model: str, nodes: int, stages: int, error: StagewrightError
) -> dict[str, Any]:
    unknown = ("reduced_nodes", "bottleneck", "lower_bound", "gap", "seconds")
    return {
        "model": model,
        "nodes": nodes,
        "stages": stages,
        **dict.fromkeys(unknown),
        "status": "infeasible" if isinstance(error, InfeasibleError) else "unknown",
        "stopped_because": str(error),
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    with_plan = [row for row in rows if row["bottleneck"] is not None]
    ratios = [
        float(row["lower_bound"] / row["bottleneck"]) if row["bottleneck"] else 1.0
        for row in with_plan
    ]
    mean = 0.0
    if ratios and min(ratios) > 0:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return {
        "proven": sum(row["status"] in ("optimal", "infeasible") for row in rows),
        "geometric_mean_lower_over_upper": Decimal(f"{mean:.6f}"),
        "longest": max((row["seconds"] for row in with_plan), default=Decimal(0)),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..reports.words import gap_text
    from ..units import PS_PER_SECOND, format_time, to_ps

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", overflow="ellipsis", no_wrap=True)
    for title in ("nodes", "reduced", "stages", "bottleneck", "gap", "took"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        if row["bottleneck"] is None:
            said = "none (proven)" if row["status"] == "infeasible" else "none found"
            name, nodes = Text(Path(row["model"]).name), f"{row['nodes']:,}"
            table.add_row(name, nodes, "-", str(row["stages"]), said, "-", "-", style="yellow")
            continue
        upper, lower = to_ps(row["bottleneck"]), to_ps(row["lower_bound"])
        gap = "optimal" if upper == lower else gap_text(upper, lower) if lower else "unknown"
        table.add_row(
            Text(Path(row["model"]).name),
            f"{row['nodes']:,}",
            f"{row['reduced_nodes']:,}",
            str(row["stages"]),
            format_time(upper),
            gap,
            format_time(round(float(row["seconds"]) * PS_PER_SECOND)),
            style=None if upper == lower else "yellow",
        )
    return table


def _words(document: dict[str, Any]) -> str:
    count = len(document["rows"])
    mean = document["geometric_mean_lower_over_upper"]
    text = f"\n{document['proven']} of {count} proven; geometric mean of lower/upper {mean:.4f}"
    text += f"; longest {float(document['longest']):.3g} s."
    return text + (" Interrupted: rows are missing." if document["interrupted"] else "")
