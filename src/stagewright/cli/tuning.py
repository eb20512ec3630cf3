# SPDX-License-Identifier: Apache-2.0
"""The command tune: a plan corrected by running it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from . import options as opt

if TYPE_CHECKING:
    from ..tuning import Tuning

_INTERRUPTED = 130


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser(
        "tune", help="plan, run, correct the costs by what was measured, plan again"
    )
    opt.add_model_options(parser)
    group = parser.add_argument_group("the machine")
    group.add_argument("--stages", "-k", type=int, required=True, metavar="K", help="stages")
    group.add_argument("--bandwidth", metavar="8GB/s", help="of the hops, to begin with")
    group.add_argument("--latency", metavar="20us", help="of a tensor sent, to begin with")
    group.add_argument(
        "--link", metavar="NAME", help="both from the catalogue (shared-memory by default)"
    )
    opt.add_search_options(parser)
    parser.set_defaults(time_limit=10.0)
    opt.add_run_options(parser)
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="most plans to measure (5)"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="PLAN.json", help="write the plan file"
    )
    parser.add_argument(
        "--save-profile",
        metavar="PROFILE.json",
        help="write the corrected costs here (PLAN.profile.json)",
    )
    parser.add_argument(
        "--report", metavar="PAGE.html", help="write the report page of the plan that is kept"
    )
    opt.add_what_if_option(parser)
    opt.add_json_option(parser)
    parser.set_defaults(command=tune)


def tune(options: argparse.Namespace) -> int:
    """Tune, save, show."""
    from ..tuning import tune as tuned

    opt.require_folder_of(options.output)
    opt.require_folder_of(options.save_profile)
    opt.require_folder_of(options.report)
    found = tuned(
        options.model,
        options.stages,
        rounds=options.rounds,
        items=options.items,
        threads_per_stage=options.threads_per_stage,
        engine=options.engine,
        depth=options.depth,
        source=opt.source_of(options),
        bandwidth=options.bandwidth,
        latency=options.latency,
        link=options.link,
        time_limit=options.time_limit,
        seed=options.seed,
        threads=options.threads,
        catalogue=opt.catalogue_of(options),
        progress=_progress if sys.stderr.isatty() and not options.json else None,
    )
    if options.json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        _show(found)
    sys.stdout.flush()
    profile = found.save(options.output, options.save_profile)
    if options.report:
        found.report(options.report, what_if=options.what_if)
    for path in filter(None, (options.output, profile, options.report)):
        opt.note(f"written: {path}")
    return _INTERRUPTED if found.tuned.stopped_because == "interrupted" else 0


def _progress(what: str) -> None:
    sys.stderr.write(f"\r\x1b[K{what} ...\r")
    sys.stderr.flush()


def _show(found: Tuning) -> None:
    from rich.table import Table

    from ..units import format_bytes, format_time, to_ps

    table = Table(
        "round", "nodes", "predicted", "measured", "ratio", "hops at", box=None, header_style="bold"
    )
    for r in found.rounds:
        rate = r.machine.bandwidth
        hops = "-" if rate is None else f"{format_bytes(rate)}/s + {format_time(r.machine.latency)}"
        table.add_row(
            f"{'*' if r is found.best else ' '}{r.number}",
            " | ".join(str(len(nodes)) for nodes in r.plan.stages),
            format_time(to_ps(r.predicted)),
            format_time(to_ps(r.found.period)),
            f"{r.ratio:.3f}",
            hops,
        )
    opt.show(table)
    first, best = found.rounds[0], found.best
    gain = 1 - best.found.period / first.found.period
    kept = f"kept: round {best.number}, one result every {format_time(to_ps(best.found.period))}"
    better = "" if best is first else f", {100 * gain:.1f} % less than the first plan's"
    print(f"{kept}{better}; stopped because {found.tuned.stopped_because}")
