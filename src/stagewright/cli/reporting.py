# SPDX-License-Identifier: Apache-2.0
"""The command report, and the report pages of other commands."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import options as opt

__all__ = ["add_commands", "write_page"]


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser("report", help="write a plan as a page")
    parser.add_argument("plan", metavar="PLAN.json", help="the plan file")
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="the model that was planned, where the plan file does not say where it is",
    )
    parser.add_argument("-o", "--output", required=True, metavar="PAGE.html", help="page to write")
    parser.add_argument("--run", metavar="RUN.json", help="what `stagewright run --json` printed")
    parser.add_argument("--no-graph", action="store_true", help="leave the graph out")
    parser.add_argument("--no-check", action="store_true", help="do not verify the plan on the way")
    opt.add_what_if_option(parser)
    opt.add_catalogue_option(parser)
    parser.set_defaults(command=report)


def report(options: argparse.Namespace) -> int:
    """Write the report page."""
    measured = None
    if options.run:
        from pathlib import Path

        from ..errors import InputError

        try:
            measured = json.loads(Path(options.run).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                options.run, "what `stagewright run --json` printed", str(error)
            ) from None
    write_page(
        options.plan,
        options.output,
        run=measured,
        model=options.model,
        draw=not options.no_graph,
        verify=not options.no_check,
        what_if=options.what_if,
        devices=options.devices,
    )
    return 0


def write_page(
    plan: str,
    output: str,
    *,
    run: Mapping[str, Any] | None = None,
    model: str | None = None,
    draw: bool = True,
    verify: bool = True,
    what_if: float = 0.0,
    devices: str | None = None,
) -> None:
    """Write the page about a plan file, with its graph if that can be read."""
    from .. import api
    from ..cost.catalogue import load_catalogue
    from ..files import write_whole
    from ..reporting import Extras, graph_of_plan, graph_or_reason, report_text

    document, source = api.read_plan(plan)
    graph, missing = None, "The graph was left out (--no-graph)."
    if model is not None and draw:
        source = replace(source, model=model) if source else api.Source(model)
        graph = graph_of_plan(document, source, load_catalogue(devices))
    elif draw:
        graph, missing = graph_or_reason(document, source, load_catalogue(devices))
        if graph is None:
            opt.note(missing)
    extras = Extras(run=run, what_if=what_if, verify=verify)
    if what_if and graph is None:
        opt.note("--what-if needs the graph, so the page has no other plans")
    write_whole(output, report_text(document, graph, extras, missing=missing))
    opt.note(f"written: {output}")
