# SPDX-License-Identifier: Apache-2.0
"""The command export: a plan for other programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from . import options as opt


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    _add_export(commands.add_parser("export", help="write a plan for another program"))


def _add_export(parser: opt.Parser) -> None:
    parser.add_argument("plan", metavar="PLAN.json", help="the plan file")
    parser.add_argument(
        "--to",
        required=True,
        metavar="TARGET",
        help="accelerate, csv, deepspeed, json, llama.cpp, megatron, onnx, onnxruntime, sglang, "
        "split-points, torch, triton or vllm",
    )
    parser.add_argument("--model", metavar="MODEL", help="the model, where it lies elsewhere now")
    parser.add_argument("-o", "--output", metavar="OUT", help="the file or folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier folder")
    parser.add_argument(
        "--place",
        metavar="gpu:0,cpu",
        help="the device of each stage, where the target names devices",
    )
    parser.add_argument(
        "--round",
        action="store_true",
        help="of a plan that the target cannot express make the best one that it can",
    )
    parser.add_argument(
        "--time-limit", type=float, default=10.0, metavar="S", help="for that one's proof (10)"
    )
    opt.add_catalogue_option(parser)
    opt.add_json_option(parser)
    parser.set_defaults(command=export)


def export(options: argparse.Namespace) -> int:
    """Write a plan for another program, and say what that costs."""
    from .. import shipping
    from ..certificate.build import dumps

    found = shipping.export(
        options.plan,
        options.to,
        options.output,
        model=options.model,
        places=options.place.split(",") if options.place else (),
        round=options.round,
        time_limit=options.time_limit,
        overwrite=options.overwrite,
        catalogue=opt.catalogue_of(options) if options.devices else None,
    )
    if options.json:
        sys.stdout.write(dumps(found.to_json()))
    elif options.output is None or found.folder:
        sys.stdout.write(found.text)
    for note in found.notes:
        opt.note(f"{found.target} cannot express: {note}")
    if found.devices:
        opt.note(
            f"devices of the stages, in the order of ranks: {', '.join(map(_device, found.devices))}"
        )
    opt.note(_cost(found.loss))
    if options.output:
        opt.note(f"written: {options.output}")
    return 0


def _device(row: Mapping[str, Any]) -> str:
    number = f" {row['number']}" if "number" in row else ""
    return f"{row['device']}{number}" + (f" on host {row['host']}" if "host" in row else "")


def _cost(loss: Any) -> str:
    from ..units import format_time

    gap = "unknown" if loss.gap is None else f"{100 * loss.gap:.4g} %"
    more = "unknown" if loss.loss is None else f"{100 * loss.loss:+.4g} %"
    return (
        f"bottleneck {format_time(loss.bottleneck)}, {more} of the plan's {format_time(loss.planned)}; "
        f"no plan that can be expressed is below {format_time(loss.lower_bound)} (gap {gap})"
    )
