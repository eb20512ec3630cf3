# SPDX-License-Identifier: Apache-2.0
"""`stagewright plan` for devices of several kinds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..units import format_bytes, format_time
from . import options as opt

if TYPE_CHECKING:
    from ..graph import CostGraph
    from ..placement.devices import Fleet
    from ..placement.workload import Workload
    from ..source import Source

_INTERRUPTED = 130
_MACHINE = ("stages", "bandwidth", "latency", "memory", "memory_limit", "link")
_OTHERS = ("start", "count_graph_io")
_SCHEDULE = ("microbatches", "optimizer", "recompute", "replicas", "chunks")


def plan_kinds(options: argparse.Namespace) -> int:
    """Plan for the devices of a machine file, or those that the model's file names; save, show."""
    from ..placing import place
    from ..readers import file_kind

    mode: Literal["inference", "training"] = options.mode or (
        "training" if options.schedule else "inference"
    )
    equal = options.stages is not None and not options.machine
    for name in _OTHERS if equal else (*_MACHINE, *_OTHERS):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(flag, f"none beside {_beside(options, name)}", "it")
    schedule = schedule_of(options)
    if mode == "inference" and (schedule or options.backward_factor is not None):
        raise InputError("--schedule and its options", "--mode training", "--mode inference")
    source = opt.source_of(options)
    published = file_kind(source.model) == "dnn_partitioning"
    if published and mode == "training":
        source = replace(source, options={**source.options, "backward": "keep"})
    if published and options.backward_factor is not None:
        raise InputError("--backward-factor", "none for a file with a backward pass", "it")
    machine: Fleet | str | None = _equal_devices(options) if equal else options.machine
    model: Workload | CostGraph
    if published:
        model, own = _published(source, mode)
        machine = machine or own
    else:
        model = opt.graph_of(source, options)
    result = place(
        model,
        machine,
        mode=mode,
        objective=options.objective or "period",
        period_limit=options.period_limit,
        latency_limit=options.latency_limit,
        work=options.work,
        schedule=schedule or None,
        backward=options.backward_factor,
        shared=options.share_devices,
        catalogue=opt.catalogue_of(options),
        time_limit=options.time_limit,
        seed=options.seed,
        source=source,
    )
    document = result.to_json()
    if options.output:
        result.save(options.output)
    if options.report:
        result.report(options.report)
    if options.json:
        from ..certificate.build import dumps

        sys.stdout.write(dumps(document))
    else:
        from ..reports.terminal import bounds_table, plan_headline, plan_table
        from ..reports.view import read_plan_view
        from ..reports.words import goal

        opt.show(plan_headline(document), plan_table(document), bounds_table(document))
        used = " | ".join(
            " ".join([stage["device"], *([str(stage["number"])] if "number" in stage else [])])
            for stage in document["stages"]
        )
        print(f"\nDevices of the stages: {used}")
        if document.get("objective", {}).get("minimise") == "period":  # others are in the headline
            print(goal(read_plan_view(document)))
        for line in (*_backward(document), *_training(document)):
            print(line)
    for path in filter(None, (options.output, options.report)):
        opt.note(f"written: {path}")
    return _INTERRUPTED if result.solution.stopped_because == "interrupted" else 0


def _published(source: Source, mode: Literal["inference", "training"]) -> tuple[Workload, Fleet]:
    """Read a workload with its devices, and say what of it must not be cut."""
    from ..placement.reading import read_published
    from ..shaping.shape import shape

    found, fleet = read_published(source.model, mode)
    graph = shape(found.graph, source.granularity, source.constraints)
    return replace(found, graph=graph), fleet


def _beside(options: argparse.Namespace, name: str) -> str:
    """Say what makes an option one too many."""
    if options.machine and name in _MACHINE:
        return "--machine, which gives the devices"
    asked = [n for n in ("machine", "mode", "objective", "schedule") if getattr(options, n)]
    asked += ["share-devices"] if options.share_devices else []
    if not asked:
        return f"the devices that '{options.model}' names (give --stages for identical ones)"
    if name in _MACHINE:
        return f"--{asked[0]} without --stages"
    return f"--{asked[0]}"


def schedule_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say of the schedule, by its attributes."""
    given = {name: getattr(options, name) for name in _SCHEDULE}
    given["name"] = options.schedule
    return {name: value for name, value in given.items() if value is not None}


def _equal_devices(options: argparse.Namespace) -> Fleet:
    """Return the devices that --stages and its numbers describe."""
    from ..placement.devices import Fleet, Kind, Link

    machine = opt.machine_of(options)
    link = Link(machine.bandwidth, machine.latency)
    kind = Kind(
        options.device or "device",
        machine.stages,
        link,
        memory=machine.memory,
        memory_limit=machine.memory_limit,
    )
    return Fleet((kind,))


def _backward(document: Mapping[str, Any]) -> Iterator[str]:
    """Say where the backward pass comes from."""
    if "training" not in document:
        return
    how = document.get("source", {}).get("backward")
    if how is None:
        yield "Backward pass: that of the file."
    elif how == "times":
        yield "Backward pass: a node beside each forward node, with the times of the file."
    else:
        yield (
            f"Backward pass: a node beside each forward node that depends on a parameter, of {how} times "
            "its work (--backward-factor)."
        )


def _training(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the schedule runs, what its bubble is, and what each stage holds."""
    schedule = document.get("training", {}).get("schedule")
    if schedule is None:
        return
    m, k, chunks = schedule["microbatches"], len(document["stages"]), schedule.get("chunks", 1)
    step = format_time(int(document["training"]["step"].scaleb(12)))
    if chunks > 1:
        p = k // chunks
        yield (
            f"Schedule: interleaved, {chunks} chunks on each of {p} devices, {m} microbatches; a step takes {step} at "
            f"most: {m * chunks + p - 1} times the longest chunk"
        )
    else:
        yield (
            f"Schedule: {schedule['name']}, {m} microbatches; a step takes {step}: {m} periods and {k - 1} of "
            f"bubble, {(m + k - 1) / m:.3f} times the period per microbatch"
        )
    for number, stage in enumerate(document["stages"]):
        params = schedule["state_factor"] * stage["param_bytes"]
        kept = (stage["in_flight"] - 1) * stage["kept_bytes"]
        held = params + kept + stage["peak_bytes"]
        again = ", recomputes" if stage["recompute"] else ""
        many = f" on {stage['replicas']} devices" if stage["replicas"] > 1 else ""
        yield (
            f"  {number}{many}: {stage['in_flight']} in flight{again}; holds {format_bytes(held)}: "
            f"{format_bytes(params)} of parameters and optimizer, {format_bytes(kept)} kept, "
            f"{format_bytes(stage['peak_bytes'])} peak"
        )
