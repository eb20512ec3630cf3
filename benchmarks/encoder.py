# SPDX-License-Identifier: Apache-2.0
"""A transformer encoder with random weights, as an ONNX file: what the light models lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["write_encoder"]


def write_encoder(
    path: Path, *, layers: int = 4, width: int = 384, heads: int = 6, tokens: int = 128
) -> None:
    """Write an encoder of pre-norm layers: attention from plain operators, and a Gelu by its parts."""
    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    stored: list[Any] = []

    def keep(array: Any) -> str:
        stored.append(numpy_helper.from_array(array, f"w{len(stored)}"))
        return f"w{len(stored) - 1}"

    def weight(*shape: int) -> str:
        return keep((rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        output = f"t{len(nodes)}"
        nodes.append(
            helper.make_node(op, inputs, [output], name=f"{op}_{len(nodes)}", **attributes)
        )
        return output

    def linear(x: str, ins: int, outs: int) -> str:
        return add("Add", add("MatMul", x, weight(ins, outs)), weight(outs))

    def norm(x: str) -> str:
        one, zero = keep(np.ones(width, np.float32)), keep(np.zeros(width, np.float32))
        return add("LayerNormalization", x, one, zero)

    size = width // heads
    split = keep(np.array([1, tokens, heads, size], np.int64))
    whole = keep(np.array([1, tokens, width], np.int64))
    root = keep(np.array(np.sqrt(size), np.float32))
    two, half, one = (keep(np.array(v, np.float32)) for v in (np.sqrt(2.0), 0.5, 1.0))
    x = "x"
    for _ in range(layers):
        y = norm(x)
        q, k, v = (add("Reshape", linear(y, width, width), split) for _ in range(3))
        q, v = (add("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
        scores = add("Div", add("MatMul", q, add("Transpose", k, perm=[0, 2, 3, 1])), root)
        mixed = add("MatMul", add("Softmax", scores, axis=-1), v)
        joined = add("Reshape", add("Transpose", mixed, perm=[0, 2, 1, 3]), whole)
        x = add("Add", x, linear(joined, width, width))
        y = linear(norm(x), width, 4 * width)
        gate = add("Add", add("Erf", add("Div", y, two)), one)
        x = add("Add", x, linear(add("Mul", add("Mul", y, gate), half), 4 * width, width))
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, tokens, width])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, tokens, width])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
