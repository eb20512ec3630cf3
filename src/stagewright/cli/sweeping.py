# SPDX-License-Identifier: Apache-2.0
"""The command sweep."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import InputError
from . import options as opt
from .live import sweep_view

_INTERRUPTED = 130


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser(
        "sweep", help="what each number of devices reaches, and how many a rate takes"
    )
    opt.add_model_options(parser)
    opt.add_machine_options(parser, sweep=True)
    opt.add_search_options(parser)
    group = parser.add_argument_group("the sweep")
    group.add_argument(
        "--target-rate",
        type=float,
        metavar="RATE",
        help="how many devices do so many inferences per second take?",
    )
    parser.add_argument(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="FILE",
        help="write the curves (.html, .svg) or the table (.csv, .json); may be repeated",
    )
    parser.add_argument(
        "--plans", metavar="FOLDER", help="write the plan file of every point into this folder"
    )
    opt.add_json_option(parser)
    parser.set_defaults(command=sweep)


def sweep(options: argparse.Namespace) -> int:
    """Sweep, save, show; 1 where a target rate is not reached."""
    from .. import sweeps
    from ..certificate.build import dumps

    check_outputs(options.output)
    source = opt.source_of(options)
    graph = opt.graph_of(source, options, shaped=False)
    machine = opt.machine_options(options)
    bandwidths = [part.strip() for part in (options.bandwidth or "").split(",") if part.strip()]
    machine["bandwidth"] = bandwidths[0] if len(bandwidths) == 1 else None
    counts = sweeps.parse_stages(options.stages)
    with sweep_view(options.time_limit, len(counts) * max(1, len(bandwidths))) as live:
        found = sweeps.sweep(
            graph,
            counts,
            bandwidths=bandwidths if len(bandwidths) > 1 else (),
            target_rate=options.target_rate,
            count_graph_io=options.count_graph_io,
            time_limit=options.time_limit,
            seed=options.seed,
            threads=options.threads,
            source=source,
            progress=live,
            granularity=source.granularity,
            constraints=source.constraints,
            **machine,
        )
    document = found.to_json()
    written = [str(path) for path in options.output]
    for path in options.output:
        from ..reports.sweep_chart import save_sweep

        save_sweep(document, path)
    if options.plans:
        plans = found.save_plans(options.plans)
        written.append(f"{options.plans} ({len(plans)} plans)")
    if options.json:
        sys.stdout.write(dumps(document))
    else:
        from ..reports.sweep import sweep_headline, sweep_table

        opt.show(sweep_headline(document), "", sweep_table(document))
    for path in written:
        opt.note(f"written: {path}")
    if found.interrupted:
        return _INTERRUPTED
    reached = any(answer["devices"] is not None for answer in document.get("answers", ()))
    return 0 if reached or options.target_rate is None else 1


def check_outputs(paths: list[str]) -> None:
    """Refuse names of files that cannot be written, before anything is computed."""
    for path in paths:
        if not path.lower().endswith((".html", ".svg", ".csv", ".json")):
            raise InputError("--output", "a name that ends in .html, .svg, .csv or .json", path)
