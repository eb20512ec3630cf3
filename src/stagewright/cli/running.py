# SPDX-License-Identifier: Apache-2.0
"""The commands split, run, devices."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import options as opt
from .watching import run_view

if TYPE_CHECKING:
    from ..runtime import RunReport
    from ..simulation import Explanation


_INTERRUPTED = 130


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    _add_split(commands.add_parser("split", help="write one model file per stage"))
    _add_run(commands.add_parser("run", help="run the stage files as a pipeline and measure"))
    _add_devices(commands.add_parser("devices", help="list the catalogue of devices and links"))


def _add_split(parser: opt.Parser) -> None:
    opt.add_model_options(parser, costs=False)
    parser.add_argument("plan", metavar="PLAN.json", help="the plan file")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--any-size",
        action="store_true",
        help="leave symbolic sizes (batch, sequence) symbolic: the stages take any",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    opt.add_json_option(parser)
    parser.set_defaults(command=split)


def split(options: argparse.Namespace) -> int:
    """Write stage files and the manifest."""
    from .. import api

    manifest = api.split(
        options.model,
        options.plan,
        options.output,
        shapes=opt.shapes_of(options),
        dims=opt.dims_of(options),
        any_size=options.any_size,
        overwrite=options.overwrite,
    )
    if options.json:
        print(json.dumps(manifest.to_json(), indent=1))
    for number, stage in enumerate(() if options.json else manifest.stages):
        print(
            f"stage {number}: {stage.file}, {stage.nodes} nodes, {len(stage.inputs)} inputs, "
            f"{len(stage.outputs)} outputs"
        )
    opt.note(f"written: {options.output}")
    return 0


def _add_run(parser: opt.Parser) -> None:
    parser.add_argument("folder", metavar="DIR", help="what `stagewright split` wrote")
    parser.add_argument("--model", metavar="MODEL", help="the unsplit model, for comparison")
    opt.add_run_options(parser)
    parser.add_argument(
        "--restart",
        type=int,
        nargs="?",
        const=3,
        default=0,
        metavar="N",
        help="start a stage that died or stalled again, at most N times in a row (0; alone: 3)",
    )
    parser.add_argument(
        "--stall-after",
        type=float,
        metavar="S",
        help="end a stage that could move and does not for S seconds (60, or 1000 predictions)",
    )
    parser.add_argument(
        "--dim",
        action="append",
        default=[],
        metavar="NAME=N",
        help="a symbolic size of the inputs that are made (1); may be repeated",
    )
    parser.add_argument(
        "--microbatch", type=int, metavar="N", help="cut each batch into parts of N rows"
    )
    parser.add_argument(
        "--provider", choices=("cpu", "cuda"), default="cpu", help="where stages compute (cpu)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the inputs (0)")
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="the Ray cluster for --engine ray; 'local' starts one (RAY_ADDRESS, else this machine's)",
    )
    parser.add_argument(
        "--ray-channel",
        choices=("auto", "sockets", "objects"),
        default="auto",
        help="how stages on a cluster hand items on (auto: sockets, objects where those cannot connect)",
    )
    parser.add_argument("--trace", metavar="OUT.json", help="write a trace for Perfetto")
    parser.add_argument("--report", metavar="PAGE.html", help="write the report page with this run")
    parser.add_argument("--plan", metavar="PLAN.json", help="the plan for --report (DIR/plan.json)")
    parser.add_argument(
        "--explain", action="store_true", help="say what the period differs from its prediction by"
    )
    opt.add_json_option(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run, measure, compare; 1 when the outputs differ from the unsplit model's."""
    from .. import api
    from ..runtime.watch import RunWatch

    opt.require_folder_of(options.trace)
    opt.require_folder_of(options.report)
    watch = RunWatch()
    with run_view(watch.now):
        report = api.run(
            options.folder,
            batches=options.items,
            threads_per_stage=options.threads_per_stage,
            seed=options.seed,
            model=options.model,
            engine=options.engine,
            depth=options.depth,
            restart=options.restart,
            stall_after=options.stall_after,
            provider=options.provider,
            address=options.address,
            ray_channel=options.ray_channel,
            dims=opt.dims_of(options),
            microbatch=options.microbatch,
            watch=watch,
            on_interrupt=_tell_of_draining,
        )
    why = _explanation(report) if options.explain else None
    if options.json:
        content = report.to_json()
        if options.explain:
            content["explanation"] = why.to_json() if why else None
        print(json.dumps(content, indent=1))
    else:
        from ..reports.terminal import run_table

        opt.show(run_table(report.to_json()))
        if why:
            _show_explanation(why)
    for fault in report.faults:
        opt.note(f"{fault}; started again")
    if report.interrupted:
        opt.note(f"stagewright: interrupted; {report.items} items of {options.items} were done")
    sys.stdout.flush()
    # Last, so that a full disk costs a file and not the report; and one file does not cost the other.
    try:
        if options.trace and report.history is not None:
            report.history.save_trace(options.trace)
            opt.note(f"written: {options.trace}")
    finally:
        if options.report:
            from ..splitting.manifest import PLAN_NAME
            from .reporting import write_page

            plan = options.plan or str(Path(options.folder) / PLAN_NAME)
            write_page(plan, options.report, run=report.to_json())
    if report.interrupted:
        return _INTERRUPTED
    return 1 if report.outputs_equal is False else 0


def _tell_of_draining() -> None:
    # In a signal handler: Python's own stderr may be in the midst of something.
    os.write(2, b"\nstagewright: what is inside comes out; Ctrl-C again ends at once\n")


def _explanation(report: RunReport) -> Explanation | None:
    """Return why the period is not the predicted one; None, and a message, where that cannot be said."""
    from ..simulation import explain

    try:
        return explain(report)
    except InputError as error:  # which must not cost the report
        opt.note(f"stagewright: {error}")
        return None


def _show_explanation(found: Explanation) -> None:
    """Print the way from the predicted to the measured period."""
    from rich.table import Table

    from ..units import format_time

    table = Table("From predicted to measured", "", "", box=None, header_style="bold")
    table.add_row("predicted period", "", format_time(round(found.predicted * 1e12)))
    periods = (found.stages, found.replayed, found.measured)
    for (cause, change), period in zip(found.steps, periods, strict=True):
        said = cause.replace("stages", "the worker's stages") if found.shared else cause
        sign = "+" if change >= 0 else "-"
        step = f"{sign} {format_time(round(abs(change) * 1e12))}"
        table.add_row(f"  {said}", step, format_time(round(period * 1e12)))
    opt.show(table)
    what = "busiest worker is worker" if found.shared else "slowest stage is stage"
    print(f"The {what} {found.slowest}.")


def _add_devices(parser: opt.Parser) -> None:
    opt.add_catalogue_option(parser)
    opt.add_json_option(parser)
    parser.set_defaults(command=devices)


def devices(options: argparse.Namespace) -> int:
    """List the catalogue."""
    catalogue = opt.catalogue_of(options)
    if options.json:
        from dataclasses import asdict

        content = {
            "devices": [asdict(d) for d in catalogue.devices.values()],
            "links": [asdict(link) for link in catalogue.links.values()],
        }
        print(json.dumps(content, indent=1, default=dict))
    else:
        from ..reports.terminal import devices_table

        opt.show(devices_table(catalogue))
    return 0
