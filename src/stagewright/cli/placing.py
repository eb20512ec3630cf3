# SPDX-License-Identifier: Apache-2.0
"""`stagewright plan` for devices of several kinds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from ..errors import InputError
from ..units import format_time
from . import options as opt

_INTERRUPTED = 130
_OTHERS = ("stages", "bandwidth", "latency", "memory", "memory_limit", "link", "start", "report")


def plan_kinds(options: argparse.Namespace) -> int:
    """Plan for the devices of a machine file, or those that the model's file names; save, show."""
    from ..placing import place
    from ..readers import file_kind

    for name in (*_OTHERS, "count_graph_io"):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(flag, "none beside --machine, --mode, --objective", "it")
    mode: Literal["inference", "training"] = options.mode or "inference"
    source = opt.source_of(options)
    published = file_kind(source.model) == "dnn_partitioning"
    if published and mode == "training":
        source = replace(source, options={**source.options, "backward": "keep"})
    if not published and mode == "training":
        raise InputError(
            "--mode training",
            "a workload of dnn-partitioning, which holds the backward pass",
            "none",
        )
    result = place(
        source.model if published else opt.graph_of(source, options),
        options.machine,
        mode=mode,
        objective=options.objective or "period",
        period_limit=options.period_limit,
        latency_limit=options.latency_limit,
        work=options.work,
        catalogue=opt.catalogue_of(options),
        time_limit=options.time_limit,
        seed=options.seed,
        source=source,
    )
    document = result.to_json()
    if options.output:
        result.save(options.output)
    if options.json:
        from ..certificate.build import dumps

        sys.stdout.write(dumps(document))
    else:
        from ..reports.terminal import bounds_table, plan_headline, plan_table

        opt.show(plan_headline(document), plan_table(document), bounds_table(document))
        used = " | ".join(stage["device"] for stage in document["stages"])
        print(f"\nDevices of the stages: {used}")
        if "objective" in document:
            print(_goal(document["objective"]))
    if options.output:
        opt.note(f"written: {options.output}")
    return _INTERRUPTED if result.solution.stopped_because == "interrupted" else 0


def _goal(objective: Mapping[str, Any]) -> str:
    """Say what was minimised, and how good the plan is at that."""
    value, lower = objective["value"], objective["lower_bound"]
    if objective["minimise"] == "cost":
        shown, least = str(value), str(lower)
    else:
        shown, least = (format_time(int(x.scaleb(12))) for x in (value, lower))
    proof = "proven least" if value == lower else f"no plan is below {least}"
    return f"{objective['minimise'].capitalize()}: {shown} ({proof})"
