# SPDX-License-Identifier: Apache-2.0
"""A plan as counts of layers, and what is lost by it."""

from __future__ import annotations

from ..errors import InputError
from ..plans import Plan, evaluate_all, problems_of
from ..solve import Settings, solve
from .stack import counts_plan, free_of_rules, layer_counts, layered, stack_of
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
    stack = stack_of(job.graph)
    expressible = layered(job.graph, stack)
    best = solve(expressible, job.machine, Settings(time_limit=job.time_limit))
    counts = layer_counts(job.graph, job.plan, stack)
    rounded = counts is None
    if counts is None:
        if not job.round:
            raise InputError(
                "plan",
                "one that cuts between layers only, since that is what the consumer can express",
                f"a layer that is cut ({_cut_layer(job)})",
                "Plan with --granularity layer, or let the export --round to the best plan of layers.",
            )
        counts = layer_counts(expressible, best.plan, stack)
        if counts is None:  # the layers of the model do not form a row
            raise InputError("layers", "one after another", f"others in '{job.graph.name}'")
    plan = counts_plan(job.graph, stack, counts)
    free = free_of_rules(job.graph)
    faults = problems_of(free, job.machine, plan)
    if faults:
        raise InputError("layers", "a row, each using the ones before only", faults[0])
    bottleneck = max(cost.total for cost in evaluate_all(free, job.machine, plan))
    loss = Loss(job.as_planned.planned, bottleneck, best.lower_bound)
    return Layers(stack, tuple(counts), rounded, loss, tuple(_notes(job, plan, rounded)))


def _cut_layer(job: Job) -> str:
    stack, stage_of = stack_of(job.graph), job.plan.assignment(job.graph.num_nodes)
    for i, name in enumerate(stack.names):
        stages = {stage_of[v] for v, layer in enumerate(stack.home) if layer == i}
        if len(stages) > 1:
            return f"'{name}' is in stages {', '.join(map(str, sorted(stages)))}"
    return "the stages do not follow the order of the layers"


def _notes(job: Job, plan: Plan, rounded: bool) -> list[str]:
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
    notes += [f"not kept: {fault}" for fault in problems_of(job.graph, job.machine, plan)[:3]]
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
