# SPDX-License-Identifier: Apache-2.0
"""Inferred sizes against the outputs that onnx's own operator tests ship."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagewright.errors import ModelError
from stagewright.graph import CostGraph
from stagewright.readers import StagewrightWarning
from stagewright.readers.onnx_model import read_onnx
from stagewright.readers.onnx_types import ELEMENT_BITS

from .models import save

BOUNDED = {"TopK", "Unique", "Slice", "NonZero", "Compress", "NonMaxSuppression", "Loop"}


def sizes_of(graph: CostGraph, model: Any) -> Iterator[tuple[str, int]]:
    """Yield name and bytes of every output whose size was inferred."""
    rows: dict[str, list[int]] = {}
    for producer, size in zip(graph.tensor_producer, graph.tensor_bytes.tolist(), strict=True):
        rows.setdefault(graph.node_names[producer], []).append(size)
    for node in model.graph.node:
        outputs = [o for o in node.output if o]
        name = node.name or f"{node.op_type}:{outputs[0]}"
        if node.op_type not in BOUNDED and len(rows.get(name, [])) == len(outputs):
            yield from zip(outputs, rows[name], strict=True)


@pytest.mark.slow
def test_sizes_are_those_of_the_outputs(tmp_path: Path) -> None:
    """The shapes that the tests declare are dropped first, so that inference has to find them.

    Outputs may stay unknown (0 bytes) where the tests give shapes as inputs of the model.
    """
    from onnx.backend.test.case.node import collect_testcases

    checked = read = 0
    wrong: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx's generators divide by zero on purpose
        cases = collect_testcases(None)
    case: Any
    for case in cases:
        model = case.model
        for output in model.graph.output if model else ():
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", StagewrightWarning)
                graph = read_onnx(save(model, tmp_path)) if model else None
        except ModelError:
            continue  # only constants, or a shape that is an input
        if graph is None:
            continue
        read += 1
        sizes = dict(sizes_of(graph, model))
        for output, array in zip(model.graph.output, case.data_sets[0][1], strict=True):
            bits = ELEMENT_BITS.get(output.type.tensor_type.elem_type, 0)
            if bits and isinstance(array, np.ndarray) and sizes.get(output.name):
                checked += 1
                if sizes[output.name] != -(-array.size * bits // 8):
                    wrong.append(f"{case.name}: {output.name}")
    assert read > 1000
    assert checked > 1000
    # a cast behind a loop of unknown length
    assert {w.partition(":")[0] for w in wrong} <= {
        "test_range_float16_type_positive_delta_expanded",
        "test_range_bfloat16_type_positive_delta_expanded",
    }
