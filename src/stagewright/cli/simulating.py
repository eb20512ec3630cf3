# SPDX-License-Identifier: Apache-2.0
"""The command simulate: a plan run in simulated time."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import options as opt

if TYPE_CHECKING:
    from ..simulation import Simulation, StageTimes


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser("simulate", help="run a plan in simulated time")
    parser.add_argument("plan", metavar="PLAN.json", help="the plan file")
    parser.add_argument(
        "--items",
        type=int,
        metavar="N",
        help="inferences (100), or microbatches (of a plan with a schedule those of ten steps)",
    )
    parser.add_argument(
        "--jitter", default="0", metavar="5%", help="relative deviation of the work times (0)"
    )
    parser.add_argument(
        "--queue", type=int, metavar="N", help="items that fit between two stages (any number)"
    )
    parser.add_argument(
        "--shared-link", action="store_true", help="one link serves all stages, one at a time"
    )
    parser.add_argument(
        "--microbatches", type=int, metavar="N", help="run empty after every N items (never)"
    )
    parser.add_argument(
        "--run", metavar="RUN.json", help="take the times that `stagewright run --json` measured"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the jitter (0)")
    parser.add_argument("--trace", metavar="OUT.json", help="write a trace for Perfetto")
    opt.add_json_option(parser)
    parser.set_defaults(command=simulate)


def simulate(options: argparse.Namespace) -> int:
    """Run a plan in simulated time and show where the time goes."""
    from .. import api, simulation
    from ..certificate.build import dumps

    opt.require_folder_of(options.trace)
    document, _ = api.read_plan(options.plan)
    stages, measured = None, None
    if options.run:
        stages, measured = _measured(options.run, len(document["stages"]))
    microbatches = options.microbatches or _microbatches(document)
    settings = simulation.Settings(
        items=options.items or (100 if microbatches is None else max(100, 10 * microbatches)),
        jitter=_fraction(options.jitter),
        queue=options.queue,
        shared_link=options.shared_link,
        microbatches=microbatches,
        seed=options.seed,
    )
    found = simulation.simulate_plan(document, options.plan, settings, stages)
    if "training" in document:
        opt.note("a stage's forward and backward pass of a microbatch are one visit here")
    content = found.to_json()
    if measured is not None:
        content["measured_period"] = measured
    if options.json:
        sys.stdout.write(dumps(content))
    else:
        _show(found, document, measured)
    if options.trace:
        sys.stdout.flush()
        # Last, so that a full disk costs the trace and nothing else.
        found.trace(options.plan).save(options.trace)
        opt.note(f"written: {options.trace}")
    return 0


def _microbatches(document: Any) -> int | None:
    """Return after how many microbatches a plan of training runs empty; None where it does not."""
    schedule = document.get("training", {}).get("schedule")
    return None if schedule is None else int(schedule["microbatches"])


def _fraction(text: str) -> float:
    """Read ``5%`` or ``0.05``."""
    number, percent, rest = text.partition("%")
    try:
        if rest:
            raise ValueError
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise InputError("--jitter", "a percentage such as 5%, or a fraction", repr(text)) from None


def _measured(path: str, count: int) -> tuple[list[StageTimes], float | None]:
    """Return what each stage of a measured run took for an item, and the run's period in seconds.

    A worker copies what it receives while it computes; that is in its compute time.
    """
    from pathlib import Path

    from ..simulation import StageTimes
    from ..units import to_ps

    what = "what `stagewright run --json` printed"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [(stage["compute"], stage["send"]) for stage in content["stages"]]
        period = content["period"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise InputError(path, what, str(fault) or type(fault).__name__) from None
    if len(rows) != count:
        raise InputError(f"{path}: stages", f"as many as the plan has, {count}", str(len(rows)))
    if any(compute is None for compute, _ in rows):
        raise InputError(f"{path}: stages", "measured times", "none", "Run more --items.")
    stages = [
        StageTimes(0, to_ps(compute, item=path), to_ps(send or 0, item=path))
        for compute, send in rows
    ]
    return stages, period


_HEADS = {
    "input": "no input",
    "link": "link taken",
    "queue": "queue full",
    "device": "device taken",
}


def _slowest(found: Simulation) -> str:
    return "slowest stage" if found.devices is None else "busiest device"


def _show(found: Simulation, document: Any, measured: float | None) -> None:
    from rich.table import Column, Table

    from ..units import format_time, to_ps

    period, latencies = found.period, found.latencies()
    if period is not None:
        ratio = (
            f", {float(period / found.predicted):.4g} times the {_slowest(found)}'s"
            if found.predicted
            else ""
        )
        print(f"period {format_time(round(period))}{ratio} ({format_time(found.predicted)})")
        if found.step is not None and "step" in document.get("training", {}):
            planned = to_ps(document["training"]["step"])
            print(
                f"step of {found.settings.microbatches} microbatches {format_time(round(found.step))}, "
                f"{float(found.step / planned):.4g} times the planned {format_time(planned)}"
            )
        if measured is not None:
            print(
                f"measured {format_time(to_ps(measured))}, planned "
                f"{format_time(to_ps(document['bottleneck']))}"
            )
    middle = latencies[(len(latencies) - 1) // 2]
    print(
        f"{found.settings.items} items in {format_time(found.timeline.left[-1])}; latency "
        f"{format_time(middle)} (median), {format_time(latencies[-1])} (most)"
    )
    heads = [_HEADS.get(part, part) for part in found.parts]
    table = Table("#", Column("cost", no_wrap=True), *heads, "queue", box=None, header_style="bold")
    rows = zip(found.stages, found.shares(), found.timeline.longest, strict=True)
    for number, (stage, shares, longest) in enumerate(rows):
        cells = [f"{100 * shares[part]:.1f} %" for part in found.parts]
        table.add_row(str(number), format_time(found.cost(stage)), *cells, str(longest))
    opt.show(table)
