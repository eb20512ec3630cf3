# SPDX-License-Identifier: Apache-2.0
"""A plan as counts of layers, and what is lost by it."""

from __future__ import annotations

from ..errors import InputError
from ..plans import Plan
from .evaluating import best_of, bottleneck_of, faults_of
from .stack import counts_plan, free_of_rules, layer_counts, layered, stages_used
from .types import Job, Layers, Loss

__all__ = ["layers_of", "one_list"]


def layers_of(job: Job) -> Layers:
    """Return the counts of layers that say a plan, or with ``job.round`` the best ones that can be said.

    What the frameworks will run is evaluated by the plain reference, and proven how close it is to the
    best that counts of layers can say.

    Raises
    ------
    InputError
        If the names tell no layers, the layers do not form a row, or the plan cuts a layer and may not
        be rounded.
    """
    stack = job.stack
    expressible = layered(job.graph, stack)
    best = best_of(job, expressible)
    counts, devices = layer_counts(job.graph, job.plan, stack), job.devices
    rounded = counts is None
    if counts is None:
        if not job.round:
            raise InputError(
                "plan",
                "one that cuts between layers only, since that is what the consumer can express",
                f"a layer that is cut ({_cut_layer(job)})",
                "Plan with --granularity layer, or let the export --round to the best plan of layers.",
            )
        counts, devices = layer_counts(expressible, best.plan, stack), best.devices
        if counts is None:  # the layers of the model do not form a row
            raise InputError("layers", "one after another", f"others in '{job.graph.name}'")
    plan = counts_plan(job.graph, stack, counts)
    free = free_of_rules(job.graph)
    # A stage that runs nothing has no device to pay for.
    taken = tuple(devices[s] for s in stages_used(stack, counts)) if devices else ()
    faults = faults_of(job, free, plan, taken)
    if faults:
        expected = "a row, each using the ones before only"
        if job.fleet is not None:
            expected = "layers in a row that their devices can run and hold"
        raise InputError("layers", expected, faults[0])
    loss = Loss(job.as_planned.planned, bottleneck_of(job, free, plan, taken), best.lower_bound)
    notes = _notes(job, plan, taken, rounded)
    return Layers(stack, tuple(counts), rounded, loss, tuple(notes), tuple(devices))


def _cut_layer(job: Job) -> str:
    stack, stage_of = job.stack, job.plan.assignment(job.graph.num_nodes)
    for i, name in enumerate(stack.names):
        stages = {stage_of[v] for v, layer in enumerate(stack.home) if layer == i}
        if len(stages) > 1:
            return f"'{name}' is in stages {', '.join(map(str, sorted(stages)))}"
    return "the stages do not follow the order of the layers"


def _notes(job: Job, plan: Plan, devices: tuple[int, ...], rounded: bool) -> list[str]:
    notes = ["cuts inside a layer; what stands before the first and after the last layer elsewhere"]
    if rounded:
        notes.append("the plan cuts layers, so this is the best plan of layers instead")
        if len(plan.stages) < len(job.plan.stages):
            notes.append(
                f"more than {len(plan.stages)} stages would not be faster, so it has these"
            )
    else:
        before, after = (p.assignment(job.graph.num_nodes) for p in (job.plan, plan))
        moved = [v for v in range(job.graph.num_nodes) if before[v] != after[v]]
        if moved and len(plan.stages) == len(job.plan.stages):
            first = job.graph.node_names[moved[0]]
            notes.append(f"{len(moved)} nodes outside of layers run elsewhere, first '{first}'")
    notes += [f"not kept: {fault}" for fault in faults_of(job, job.graph, plan, devices)[:3]]
    return notes


def one_list(layers: Layers, consumer: str) -> None:
    """Demand that the layers are one list, as the consumer's models have.

    Raises
    ------
    InputError
        If they are several, such as an encoder's and a decoder's.
    """
    lists = layers.stack.lists
    if len(lists) > 1:
        raise InputError(
            f"layers for {consumer}",
            "one list of layers, as a decoder has",
            f"{len(lists)} lists: {', '.join(lists[:4])}",
            "Export for deepspeed, accelerate, onnx or triton, which run any row of modules.",
        )
