# SPDX-License-Identifier: Apache-2.0
"""The command robust."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..errors import InputError
from . import options as opt

_INTERRUPTED = 130


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser("robust", help="how plans bear costs that are not as assumed")
    opt.add_model_options(parser)
    opt.add_machine_options(parser)
    opt.add_search_options(parser)
    group = parser.add_argument_group("the uncertainty (a part: 20% or 0.2)")
    group.add_argument(
        "--spread-work",
        metavar="PART",
        help="of the work of nodes (5%% measured, 10%% given, 20%% calibrated, 30%% by roofline)",
    )
    group.add_argument(
        "--spread-op",
        action="append",
        default=[],
        metavar="OP=PART",
        help="of the work of one operator; may be repeated",
    )
    group.add_argument(
        "--spread-bytes", default="0", metavar="PART", help="of sizes of tensors (0)"
    )
    group.add_argument("--spread-bandwidth", default="0", metavar="PART", help="of the link (0)")
    group.add_argument(
        "--distribution", choices=("lognormal", "uniform"), default="lognormal", help="(lognormal)"
    )
    group.add_argument(
        "--per", choices=("node", "op", "all"), default="node", help="what errs together (node)"
    )
    group = parser.add_argument_group("the study")
    group.add_argument(
        "--samples", type=int, default=32, metavar="N", help="instances to judge by (32)"
    )
    group.add_argument(
        "--within", default="5%", metavar="PART", help="what counts as close to the optimum (5%%)"
    )
    group.add_argument(
        "--choose", choices=("mean", "worst"), default="mean", help="regret to minimise (mean)"
    )
    group.add_argument(
        "--factors", type=int, default=10, metavar="N", help="costs to look at one by one (10)"
    )
    group.add_argument("--plan", metavar="PLAN.json", help="judge this plan as well")
    parser.add_argument("-o", "--output", metavar="PLAN.json", help="write the chosen plan")
    opt.add_json_option(parser)
    parser.set_defaults(command=robust, time_limit=10.0)


def robust(options: argparse.Namespace) -> int:
    """Study, save, show."""
    from .. import api, judging
    from ..certificate.build import dumps
    from ..robustness.document import robustness_document

    known = api.read_plan(options.plan)[1] if options.plan else None
    source = opt.source_of(options, known)
    found = judging.robust(
        opt.graph_of(source, options),
        options.stages,
        **opt.machine_options(options),
        count_graph_io=options.count_graph_io,
        spread=_spread_of(options),
        samples=options.samples,
        tolerance=part(options.within, "--within"),
        choose=options.choose,
        plan=options.plan,
        factors=options.factors,
        time_limit=options.time_limit,
        seed=options.seed,
        threads=options.threads,
        progress=_live if sys.stderr.isatty() and not options.json else None,
    )
    document = robustness_document(found)
    if options.output:
        judging.chosen_result(found, source).save(options.output)
    if options.json:
        sys.stdout.write(dumps(document))
    else:
        from ..reports.robustness import factors_table, plans_table, robustness_headline

        tables = [plans_table(document)]
        if document["factors"]:
            tables.append(factors_table(document, max(1, options.factors)))
        opt.show(robustness_headline(document), *tables)
    if options.output:
        opt.note(f"written: {options.output}")
    return _INTERRUPTED if found.interrupted else 0


def _spread_of(options: argparse.Namespace) -> Any:
    from ..robustness.spread import Spread

    ops = {}
    for text in options.spread_op:
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise InputError("--spread-op", "OP=PART such as Conv=40%", repr(text))
        ops[name] = part(value, "--spread-op")
    work = options.spread_work
    return Spread(
        work=None if work is None else part(work, "--spread-work"),
        bytes=part(options.spread_bytes, "--spread-bytes"),
        bandwidth=part(options.spread_bandwidth, "--spread-bandwidth"),
        ops=ops,
        kind=options.distribution,
        per=options.per,
    )


def part(text: str, item: str) -> float:
    """Read a part of one: ``20%`` or ``0.2``."""
    from decimal import Decimal, InvalidOperation

    try:
        number = Decimal(text.strip().removesuffix("%"))
    except InvalidOperation:
        raise InputError(item, "a part such as 20% or 0.2", repr(text)) from None
    if not number.is_finite() or number < 0:
        raise InputError(item, "a part such as 20% or 0.2", repr(text))
    return float(number / 100 if text.strip().endswith("%") else number)


def _live(done: int, total: int) -> None:
    sys.stderr.write(f"\r\x1b[K{done} of at most {total} instances solved")
    if done == total:
        sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
