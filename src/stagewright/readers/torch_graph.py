# SPDX-License-Identifier: Apache-2.0
"""From the steps of a walk to a cost graph: what is alive, what each stage recomputes, who reads what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from ..errors import GraphError, ModelError
from ..graph import CostGraph, GraphBuilder
from .torch_region import parts
from .torch_walk import Step, Version, Walk

__all__ = ["build_graph", "node_names"]

_SHARE: Final = 100
"""A replicable node and all it is made from take at most one part in this many of the model."""

_SMALL: Final = 64 << 10
"""Bytes of parameters that a replicable node may read, since each stage has to hold them."""


def build_graph(
    name: str, item: str, walk: Walk, outputs: Sequence[Version], *, replicate: bool
) -> CostGraph:
    """Assemble the cost graph of a walked program.

    Parameters
    ----------
    outputs
        What the program returns.
    replicate
        Mark masks, position tables and their like as replicable.

    Raises
    ------
    ModelError
        If nothing depends on the model's inputs.
    """
    steps = walk.steps
    names = node_names(steps, outputs)
    alive = [name is not None for name in names]
    if not any(alive):
        raise ModelError(
            f"{item}: graph", "a node that depends on an input", "only constants and views"
        )
    copied = _replicable(walk, alive) if replicate else [False] * len(steps)
    builder, index = GraphBuilder(name), {}
    for i, (step, own) in enumerate(zip(steps, names, strict=True)):
        if own is not None:
            index[i] = builder.add_node(
                own,
                op=step.op,
                flops=step.flops,
                nbytes=step.nbytes,
                dtype=step.dtype,
                replicable=copied[i],
            )
    try:
        _add_tensors(builder, steps, index)
        _add_parameters(builder, walk, index)
        _add_io(builder, steps, index, outputs)
        return builder.build()
    except GraphError as error:
        raise ModelError(f"{item}: {error.item}", error.expected, error.got, error.remedy) from None


def node_names(steps: Sequence[Step], outputs: Sequence[Version]) -> list[str | None]:
    """Return the name of each step's node; None for what no output or effect needs."""
    taken: dict[str, int] = {}
    return [
        _unique(taken, f"{step.path}/{step.op}" if step.path else step.op) if alive else None
        for step, alive in zip(steps, _alive(steps, outputs), strict=True)
    ]


def _unique(names: dict[str, int], name: str) -> str:
    """Return the name, with a number when it was taken."""
    while name in names:
        names[name] += 1
        name = f"{name}_{names[name]}"
    names[name] = 0
    return name


def _alive(steps: Sequence[Step], outputs: Sequence[Version]) -> list[bool]:
    """Return which steps an output or an effect needs."""
    alive = [step.effect for step in steps]
    stack = [v.producer for v in outputs if v.producer is not None]
    stack += [i for i, step in enumerate(steps) if step.effect]
    for i in stack:
        alive[i] = True
    while stack:
        step = steps[stack.pop()]
        for version, _ in step.inputs:
            producer = version.producer
            if producer is not None and not alive[producer]:
                alive[producer] = True
                stack.append(producer)
    return alive


def _replicable(walk: Walk, alive: Sequence[bool]) -> list[bool]:
    """Return which steps every stage can redo from integer inputs at negligible cost.

    Masks and position tables come from ids, positions and masks, which are integers or truth values;
    what is made of images or sounds is the model's own path and stays.
    """
    steps = walk.steps
    flops = sum(step.flops for i, step in enumerate(steps) if alive[i])
    moved = sum(step.nbytes for i, step in enumerate(steps) if alive[i])
    behind: dict[int, set[int]] = {}  # replicable step -> itself and every step it needs
    for i, step in enumerate(steps):
        if not alive[i] or step.effect or step.after:
            continue
        needs, held = {i}, set()
        for version, _ in step.inputs:
            held |= set(version.sources)
            if version.producer is not None:
                if version.producer not in behind:
                    break
                needs |= behind[version.producer]
            elif not version.constant and (version.state is not None or version.floating):
                break
        else:
            if (
                sum(walk.sources[s].nbytes for s in held) <= _SMALL
                and _SHARE * sum(steps[j].flops for j in needs) <= flops
                and _SHARE * sum(steps[j].nbytes for j in needs) <= moved
            ):
                behind[i] = needs
    return [i in behind for i in range(len(steps))]


def _add_tensors(builder: GraphBuilder, steps: Sequence[Step], index: dict[int, int]) -> None:
    """Add a tensor per part that is read apart, and what nobody reads as a tensor without consumers."""
    for i, node in index.items():
        for version in steps[i].makes:
            reads = [(r, index[j]) for r, j in version.reads if j in index and j != i]
            rest = version.nbytes
            for members, size in parts([r for r, _ in reads], version.nbytes):
                builder.add_tensor(node, {reads[m][1] for m in members}, nbytes=size)
                rest -= size
            if rest > 0 or not reads:
                builder.add_tensor(node, (), nbytes=max(0, rest))
    followers: dict[int, dict[int, None]] = {}
    for i, node in index.items():
        for earlier in steps[i].after:
            if earlier in index:
                followers.setdefault(index[earlier], {})[node] = None
    for earlier, later in followers.items():
        # Nothing is sent: whoever overwrites a storage waits for those that still read it.
        builder.add_tensor(earlier, later, time=0)


def _add_parameters(builder: GraphBuilder, walk: Walk, index: dict[int, int]) -> None:
    """Add every parameter that is read; whoever touches one that is written shares a stage."""
    users: dict[int, dict[int, None]] = {}
    written: dict[int, None] = {}
    touching: dict[int, dict[int, None]] = {}
    for i, node in index.items():
        for version, _ in walk.steps[i].inputs:
            for source in version.sources:
                users.setdefault(source, {})[node] = None
            if version.state is not None:
                touching.setdefault(version.state, {})[node] = None
        for version in walk.steps[i].makes:
            if version.state is not None:
                written[version.state] = None
    for source in sorted(users):
        builder.add_param(walk.sources[source].nbytes, users[source])
    for state in written:
        for a, b in pairwise(touching[state]):
            builder.never_cut(a, b)


def _add_io(
    builder: GraphBuilder,
    steps: Sequence[Step],
    index: dict[int, int],
    outputs: Sequence[Version],
) -> None:
    """Say what the model is given, numbered in the order of first use, and what it returns."""
    readers: dict[Version, dict[int, None]] = {}
    for i, node in index.items():
        for version, _ in steps[i].inputs:
            given = version.producer is None and not version.constant
            if given and not version.sources and version.state is None:
                readers.setdefault(version, {})[node] = None
    for number, (version, users) in enumerate(readers.items()):
        builder.add_io(f"input {number}", version.nbytes, users, is_input=True)
    for number, version in enumerate(dict.fromkeys(outputs)):
        if version.producer is not None:
            builder.add_io(
                f"output {number}", version.nbytes, [index[version.producer]], is_input=False
            )
