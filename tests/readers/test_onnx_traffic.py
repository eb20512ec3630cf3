# SPDX-License-Identifier: Apache-2.0
"""Bytes moved by single operators against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from stagewright.readers.onnx_model import read_onnx

from .models import INT64, MS, info, make_model, one_node, save, weight


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "nbytes"),
    [
        # all inputs, parameters among them, and the output
        ("Add", [(4, 5), (5,)], {}, 4 * (20 + 5 + 20)),
        ("Conv", [(1, 3, 8, 8), (4, 3, 3, 3)], {}, 4 * (192 + 108 + 144)),
        ("Transpose", [(4, 5)], {}, 160),
        ("Concat", [(4, 5), (4, 5)], {"axis": 0}, 320),
        ("Expand", [(1, 5), ints(4, 5)], {}, 20 + 16 + 80),
        # views
        ("Reshape", [(4, 5), ints(20)], {}, 0),
        ("Flatten", [(4, 5)], {}, 0),
        ("Identity", [(4, 5)], {}, 0),
        ("Squeeze", [(4, 1), ints(1)], {}, 0),
        ("Dropout", [(4, 5)], {}, 0),
        ("Dropout", [(4, 5), np.float32(0.5), np.bool_(True)], {}, 160 + 4 + 1),
        # the rows read, the rows written, and the indices
        ("Gather", [(1000, 5), ((3,), INT64)], {}, 2 * 60 + 24),
        ("GatherElements", [(1000, 5), ((3, 5), INT64)], {}, 2 * 60 + 120),
        ("GatherND", [(1000, 5), ((3, 1), INT64)], {}, 2 * 60 + 24),
        ("Slice", [(1000, 5), ints(0), ints(3), ints(0)], {}, 2 * 60 + 24),
        # a copy, and the updates over a part of it
        ("ScatterND", [(10, 5), ((3, 1), INT64), (3, 5)], {}, 200 + 24 + 60 + 200 + 60),
    ],
)
def test_bytes_moved(
    tmp_path: Path, op: str, inputs: list[Any], attributes: Any, nbytes: int
) -> None:
    assert one_node(tmp_path, op, inputs, attributes=attributes).nbytes.tolist() == [nbytes]


def test_split_reads_what_it_writes(tmp_path: Path) -> None:
    graph = one_node(tmp_path, "Split", [(4, 6)], outputs=2, attributes={"num_outputs": 2})
    assert graph.nbytes.tolist() == [2 * 96]
    assert graph.tensor_bytes.tolist() == [48, 48]


def test_an_embedding_reads_its_rows(tmp_path: Path) -> None:
    inputs: list[Any] = [((1, 4), INT64), None, (900, 8), (512, 8), None, (8,), (8,)]
    graph = one_node(tmp_path, "EmbedLayerNormalization", inputs, domain=MS)
    assert graph.nbytes.tolist() == [3 * 4 * 8 * 4 + 32]


def test_an_input_named_twice_is_read_once(tmp_path: Path) -> None:
    node = helper.make_node("Mul", ["x", "x"], ["y"], "square")
    graph = read_onnx(save(make_model([node], [info("x", [4, 5])]), tmp_path))
    assert graph.nbytes.tolist() == [160]


def test_parameters_are_read(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    model = make_model([node], [info("x", [1, 64])], [], [weight("w", [64, 128])])
    graph = read_onnx(save(model, tmp_path))
    assert graph.nbytes.tolist() == [4 * (64 + 64 * 128 + 128)]
