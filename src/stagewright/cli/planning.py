# SPDX-License-Identifier: Apache-2.0
"""The commands plan, check, bound, convert."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import options as opt
from .live import live_view
from .watching import bound_view

if TYPE_CHECKING:
    from ..api import Result
    from ..bound.programs import Relaxation
    from ..bound.types import Bound

_INTERRUPTED = 130
_KINDS = ("machine", "mode", "objective", "schedule", "share_devices")
"""Options that ask for a plan by :func:`stagewright.place`."""


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    _add_plan(commands.add_parser("plan", help="cut a model into stages, with a proof"))
    _add_check(commands.add_parser("check", help="verify a plan independently"))
    _add_bound(commands.add_parser("bound", help="compute one lower bound"))
    _add_convert(commands.add_parser("convert", help="write any readable model in another format"))


def _add_plan(parser: opt.Parser) -> None:
    opt.add_model_options(parser)
    opt.add_machine_options(parser, kinds=True)
    opt.add_search_options(parser)
    parser.add_argument("--start", metavar="PLAN.json", help="start from this plan")
    parser.add_argument("-o", "--output", metavar="PLAN.json", help="write the plan file")
    parser.add_argument("--report", metavar="PAGE.html", help="write the report page")
    opt.add_what_if_option(parser)
    opt.add_json_option(parser)
    parser.set_defaults(command=plan)


def plan(options: argparse.Namespace) -> int:
    """Plan, save, show."""
    from .. import api

    if any(getattr(options, name) for name in _KINDS) or _names_devices(options):
        from .placing import plan_kinds

        return plan_kinds(options)
    if options.stages is None:
        raise InputError("--stages", "the number of devices, or --machine FILE", "neither")
    for name in ("work", "period_limit", "latency_limit"):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(flag, "--machine or --objective beside it", "neither")
    for name in ("microbatches", "optimizer", "recompute", "replicas", "chunks", "backward_factor"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')}", "--mode training beside it", "none")
    source = opt.source_of(options)
    graph = opt.graph_of(source, options, shaped=False)
    with live_view(options.time_limit) as live:
        result = api.plan(
            graph,
            options.stages,
            **opt.machine_options(options),
            count_graph_io=options.count_graph_io,
            time_limit=options.time_limit,
            seed=options.seed,
            threads=options.threads,
            start=options.start,
            source=source,
            progress=live,
            granularity=source.granularity,
            constraints=source.constraints,
        )
    document = result.to_json()
    if options.output:
        result.save(options.output)
    if options.report:
        stopped = result.solution.stopped_because == "interrupted"
        result.report(options.report, what_if=0.0 if stopped else options.what_if)
    if options.json:
        from ..certificate.build import dumps

        sys.stdout.write(dumps(document))
    else:
        from ..reports.terminal import bounds_table, plan_headline, plan_table

        opt.show(plan_headline(document), plan_table(document), bounds_table(document))
        if source.granularity == "layer":
            _show_layers(result)
    for path in filter(None, (options.output, options.report)):
        opt.note(f"written: {path}")
    return _INTERRUPTED if result.solution.stopped_because == "interrupted" else 0


def _names_devices(options: argparse.Namespace) -> bool:
    """Whether the model's file says which devices it is for, and no options say so instead."""
    from ..readers import file_kind

    if options.stages is not None or not Path(options.model).is_file():
        return False
    return file_kind(options.model) == "dnn_partitioning"


def _show_layers(result: Result) -> None:
    """Print the layers of each stage, which is all that many frameworks take."""
    from ..exporting.stack import layer_counts, stack_of

    try:
        stack = stack_of(result.graph)
    except InputError:  # units that are modules; then there are no layers to count
        return
    counts = layer_counts(result.graph, result.plan, stack)
    if counts is not None:
        print(f"Layers per stage: {','.join(map(str, counts))} ({', '.join(stack.lists)})")


def _add_check(parser: opt.Parser) -> None:
    opt.add_model_options(parser)
    parser.add_argument("plan", metavar="PLAN.json", help="the plan file to verify")
    parser.add_argument(
        "--exhaustive",
        type=float,
        metavar="S",
        help="spend up to S seconds on redoing exhaustive proofs (default: a few)",
    )
    opt.add_json_option(parser)
    parser.set_defaults(command=check)


def check(options: argparse.Namespace) -> int:
    """Verify a plan file; 0 all verified, 1 invalid, 3 valid as far as it could be verified."""
    from .. import api

    _, known = api.read_plan(options.plan)
    graph = opt.graph_of(opt.source_of(options, known), options)
    report = api.check(graph, options.plan, exhaustive_seconds=options.exhaustive)
    if options.json:
        print(json.dumps(asdict(report), indent=1))
        return report.exit_code
    for title, lines in (
        ("verified", report.verified),
        ("not verified", report.not_verified),
        ("problem", report.problems),
    ):
        for line in lines:
            print(f"{title}: {line}")
    print(
        {0: "valid, everything verified", 1: "INVALID", 3: "valid as far as it could be verified"}[
            report.exit_code
        ]
    )
    return report.exit_code


def _add_bound(parser: opt.Parser) -> None:
    from ..api import BOUND_METHODS, SOLVERS

    opt.add_model_options(parser)
    opt.add_machine_options(parser)
    opt.add_search_options(parser)
    parser.add_argument("--method", required=True, choices=BOUND_METHODS, help="which bound")
    parser.add_argument(
        "--solver",
        choices=SOLVERS,
        default="highs",
        help="who solves bottleneck, superblock, guess, lp and mip (highs)",
    )
    parser.add_argument(
        "--integrality-gap",
        action="store_true",
        help="hold the bound against the LP relaxation of its model",
    )
    opt.add_json_option(parser)
    parser.set_defaults(command=bound)


def bound(options: argparse.Namespace) -> int:
    """Compute one lower bound."""
    from .. import api
    from ..bound.programs import PROGRAMS
    from ..bound.watch import BoundWatch
    from ..certificate.build import dumps

    graph, machine = opt.graph_of(opt.source_of(options), options), opt.machine_of(options)
    if options.count_graph_io:
        from ..graph_io import count_graph_io

        graph = count_graph_io(graph, machine)
    watch = BoundWatch()
    solver = options.solver if options.method in PROGRAMS else None
    view = bound_view(options.method, watch.now, options.time_limit, solver)
    if options.integrality_gap:
        with view:
            pair = api.integrality_gap(
                graph,
                machine,
                options.method,
                solver=options.solver,
                time_limit=options.time_limit,
                watch=watch,
            )
        return _show_gap(pair, as_json=options.json)
    with view:
        found = api.bound(
            graph,
            machine,
            options.method,
            solver=options.solver,
            time_limit=options.time_limit,
            seed=options.seed,
            watch=watch,
        )
    if options.json:
        sys.stdout.write(dumps(_bound_entry(found)))
    else:
        print(_bound_line(found))
    if machine.memory_limit is not None and found.method != "exact":
        opt.note("the memory limit is left out of account; the bound holds with it, too")
    return 0


def _bound_entry(found: Bound) -> dict[str, Any]:
    from ..units import seconds_from_ps

    return {
        "method": found.method,
        "value": seconds_from_ps(found.value),
        "seconds": Decimal(f"{found.seconds:.6f}"),
        "evidence": found.evidence,
    }


def _bound_line(found: Bound) -> str:
    from ..units import format_time

    known = f"{found.evidence} by {found.solver}" if found.solver else found.evidence
    return (
        f"{found.method}: no plan has a bottleneck below {format_time(found.value)} "
        f"({known}, {found.seconds:.3g} s)"
    )


def _show_gap(pair: Relaxation, *, as_json: bool) -> int:
    """Print a bound, the one of its LP relaxation, and how far they are apart."""
    from ..certificate.build import dumps
    from ..units import format_time, seconds_from_ps

    if as_json:
        entry = {
            **_bound_entry(pair.mip),
            "relaxation": seconds_from_ps(pair.lp.value),
            "integrality_gap": None if pair.gap is None else Decimal(f"{pair.gap:.9f}"),
            "solved": pair.solved,
        }
        sys.stdout.write(dumps(entry))
        return 0
    print(_bound_line(pair.mip))
    print(f"its LP relaxation: {format_time(pair.lp.value)} ({pair.lp.seconds:.3g} s)")
    share = "unknown, the relaxation is 0" if pair.gap is None else f"{100 * pair.gap:.4g} %"
    least = "" if pair.solved else " at least (the program was not solved to the end)"
    print(f"integrality gap: {share}{least}")
    return 0


def _add_convert(parser: opt.Parser) -> None:
    opt.add_model_options(parser)
    parser.add_argument(
        "output",
        metavar="OUT",
        help="a graph file (.json, .json.gz), .graphml, .dot, or a CostGraphDef (.pbtxt)",
    )
    parser.add_argument(
        "--plan", metavar="PLAN.json", help="show the stages of this plan (.graphml, .dot)"
    )
    parser.add_argument(
        "--count-graph-io",
        action="store_true",
        help="write what the model's inputs and outputs cost at this bandwidth and latency into the work",
    )
    parser.add_argument("--bandwidth", metavar="25GB/s", help="of a link (with --count-graph-io)")
    parser.add_argument("--latency", metavar="5us", help="of a tensor (with --count-graph-io)")
    opt.add_json_option(parser)
    parser.set_defaults(command=convert)


def convert(options: argparse.Namespace) -> int:
    """Write the graph of a model in another format."""
    from ..writers import write_graph

    known = stage_of = None
    if options.plan:
        from ..api import read_plan
        from ..certificate.build import plan_of

        document, known = read_plan(options.plan)
    graph = opt.graph_of(opt.source_of(options, known), options)
    if options.plan:
        stage_of = plan_of(document, graph, options.plan).assignment(graph.num_nodes)
    if options.count_graph_io:
        from ..api import machine_for
        from ..graph_io import count_graph_io

        machine = machine_for(
            1,
            bandwidth=options.bandwidth,
            latency=options.latency,
            device=options.device,
            catalogue=opt.catalogue_of(options),
        )
        graph = count_graph_io(graph, machine)
    remarks = list(write_graph(graph, options.output, stage_of=stage_of))
    for line in remarks:
        opt.note(f"{options.output}: {line}")
    if options.json:
        content = {
            "output": options.output,
            "graph_sha256": graph.sha256,
            "nodes": graph.num_nodes,
            "tensors": graph.num_tensors,
            "params": len(graph.param_bytes),
            "left_out": remarks,
        }
        print(json.dumps(content, indent=1))
    opt.note(
        f"written: {options.output} ({graph.num_nodes} nodes, {graph.num_tensors} tensors, "
        f"{len(graph.param_bytes)} parameters)"
    )
    if not graph.work.any():
        opt.note("the nodes have no work: give --device or --profile, now or when planning")
    return 0
