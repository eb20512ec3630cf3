# SPDX-License-Identifier: Apache-2.0
"""Charging a model for its own inputs and outputs, which are free by default as in the paper.

An input enters the pipeline at its first reader (in topological order), whose stage pays for receiving it; other readers get
it from there, like any tensor.  An output leaves from the stage of the node that makes it, which pays for sending
it, beside what other stages get.  Both are said in terms that every graph has: the work of that node grows by
what sending the tensor costs, and an input with several readers becomes a tensor of the first.
"""

from __future__ import annotations

import numpy as np

from .errors import InputError
from .graph import CostGraph, Ragged
from .machine import Machine

__all__ = ["count_graph_io"]


def count_graph_io(graph: CostGraph, machine: Machine) -> CostGraph:
    """Return the graph whose stages pay for the model's inputs and outputs on `machine`.

    Raises
    ------
    InputError
        If the reader did not say what they are or how large, or the machine has no bandwidth.
    """
    if not graph.io:
        raise InputError(
            f"graph '{graph.name}': inputs and outputs",
            "a model that says what they are (ONNX, PyTorch, StableHLO)",
            "a graph without",
            "Leave out --count-graph-io.",
        )
    place = {v: i for i, v in enumerate(graph.topological_order.tolist())}
    work = graph.work.tolist()
    rows, producers = graph.tensor_consumers.rows(), graph.tensor_producer.tolist()
    nbytes, times = graph.tensor_bytes.tolist(), graph.tensor_time.tolist()
    for entry in graph.io:
        kind = "input" if entry.is_input else "output"
        if entry.nbytes < 0:
            raise InputError(f"{kind} '{entry.name}'", "a known size", "an unknown one")
        first, *others = sorted(entry.nodes, key=place.__getitem__)
        work[first] += machine.latency + machine.transfer_time(entry.nbytes)
        if others:
            producers.append(first)
            rows.append(sorted(others))
            nbytes.append(entry.nbytes)
            times.append(-1)
    inputs = sum(entry.is_input for entry in graph.io)
    note = f"graph inputs and outputs are charged: {inputs} and {len(graph.io) - inputs}"
    return graph.replace(
        work=work,
        tensor_producer=np.array(producers, np.int32),
        tensor_consumers=Ragged.of(rows),
        tensor_bytes=np.array(nbytes, np.int64),
        tensor_time=np.array(times, np.int64),
        io=(),
        notes=(*graph.notes, note),
    )
