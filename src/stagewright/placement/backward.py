# SPDX-License-Identifier: Apache-2.0
"""A backward pass for graphs that hold the forward pass alone.

Each forward node whose result depends on a parameter gets a backward one, and the two share a stage.  It needs what
the forward node reads (kept until then) and the gradients of what the forward node makes, and makes the gradients of
what it reads: one tensor of the same size per use.  That is what linear operators, convolutions and
normalisations keep; an addition keeps less, so memory is rather overrated.  Where the file says nothing of backward
times, they are a multiple of the forward ones: 2 for operators that multiply, once per gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Final

from ..errors import InputError
from ..graph import CostGraph, GraphBuilder
from .workload import Workload

__all__ = ["TIMES", "training_workload", "with_backward"]

TIMES: Final = "times"
"""Says that backward times are those of the file."""


def training_workload(graph: CostGraph, how: str | None, path: str | Path | None) -> Workload:
    """Return the workload of a forward graph with a backward pass.

    Parameters
    ----------
    how
        `TIMES`, or by how much the backward pass takes longer than the forward one, as a number in
        words; None for the former where the file at `path` has times (profiles of PipeDream), else 2.

    Raises
    ------
    InputError
        If `how` is no such thing.
    """
    from ..readers import file_kind

    timed = path is not None and Path(path).is_file() and file_kind(path) == "pipedream"
    if (how or TIMES) == TIMES and timed:
        from ..readers.pipedream import backward_times

        return with_backward(graph, backward_times(Path(path or "")))
    try:
        factor = Fraction(how or "2")
    except (ValueError, ZeroDivisionError):
        factor = Fraction(-1)
    if not 0 <= factor <= 1000:
        raise InputError("backward factor", "a number from 0 to 1000", repr(how))
    return with_backward(graph, factor=factor)


def with_backward(
    graph: CostGraph, times: Mapping[str, int] | None = None, factor: Fraction = Fraction(2)
) -> Workload:
    """Return the workload of `graph` and its backward pass.

    Parameters
    ----------
    times
        Picoseconds of the backward pass by the names of forward nodes; `factor` times the forward work
        for the others.

    Raises
    ------
    InputError
        If no node depends on a parameter.
    """
    n = graph.num_nodes
    trained = _depending_on_parameters(graph)
    if not any(trained):
        raise InputError("mode", "a graph with nodes to train", "none that depend on a parameter")
    builder = GraphBuilder(graph.name)
    group = [
        graph.group_names[g]
        if g >= 0
        else f"{graph.node_names[v]} (both passes)"
        if trained[v]
        else None
        for v, g in enumerate(graph.group.tolist())
    ]
    attributes = zip(
        graph.node_names,
        graph.node_ops,
        graph.work.tolist(),
        graph.flops.tolist(),
        graph.nbytes.tolist(),
        graph.node_dtypes,
        graph.stage.tolist(),
        graph.replicable.tolist(),
        strict=True,
    )
    rows = list(attributes)
    kinds = graph.node_kinds or ("",) * n
    for v, (name, op, work, flops, nbytes, dtype, stage, copied) in enumerate(rows):
        builder.add_node(
            name,
            op=op,
            work=work,
            flops=flops,
            nbytes=nbytes,
            dtype=dtype,
            kind=kinds[v],
            group=group[v],
            stage=stage,
            replicable=copied,
        )
    back: dict[int, int] = {}
    for v, (name, op, work, flops, nbytes, dtype, _, _) in enumerate(rows):
        if trained[v]:
            known = None if times is None else times.get(name)
            back[v] = builder.add_node(
                f"{name} (backward)",
                op=op,
                work=_scaled(work, factor) if known is None else known,
                flops=_scaled(flops, factor),
                nbytes=_scaled(nbytes, factor),
                dtype=dtype,
                kind=kinds[v],
                group=group[v],
            )
    for t, (producer, users) in enumerate(
        zip(graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True)
    ):
        nbytes, time = int(graph.tensor_bytes[t]), int(graph.tensor_time[t])
        size = {"nbytes": nbytes} if nbytes >= 0 else {"time": time}
        builder.add_tensor(producer, [*users, *(back[u] for u in users if u in back)], **size)
        for user in users:
            if producer in back and user in back:
                builder.add_tensor(back[user], [back[producer]], **size)
    for p, users in enumerate(graph.param_users.rows()):
        builder.add_param(int(graph.param_bytes[p]), users)
    for a, b in graph.uncuttable.tolist():
        builder.never_cut(a, b)
    sources = graph.node_sources or ("",) * n
    joint = builder.build().replace(node_sources=(*sources, *(sources[v] for v in back)))
    return Workload(joint, (False,) * n + (True,) * len(back))


def _scaled(number: int, factor: Fraction) -> int:
    return -(-number * factor.numerator // factor.denominator)


def _depending_on_parameters(graph: CostGraph) -> list[bool]:
    """Return which nodes have gradients: all that parameters lead to, or all where none are known."""
    trained = [not len(graph.param_bytes)] * graph.num_nodes
    for users in graph.param_users.rows():
        for v in users:
            trained[v] = True
    made: list[list[int]] = [[] for _ in trained]
    rows = graph.tensor_consumers.rows()
    for producer, users in zip(graph.tensor_producer.tolist(), rows, strict=True):
        made[producer] += users
    for v in graph.topological_order.tolist():
        if trained[v]:
            for user in made[v]:
                trained[user] = True
    copied = graph.replicable.tolist()
    return [own and not again for own, again in zip(trained, copied, strict=True)]
