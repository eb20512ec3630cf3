# SPDX-License-Identifier: Apache-2.0
"""The model that a calibration measures: operators of every class, small and large.

Each tower is a chain of the operators that usually stand together, so that layouts are changed as
often as in real models.  Weights are random and share nothing; together they exceed the caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

__all__ = ["BULK_SIZES", "probe_model"]

_OPSET: Final = 17
_IMAGES: Final = ((16, 14), (64, 7), (32, 112), (64, 56), (128, 28), (256, 14), (512, 7))
"""Channels and height (= width) of the convolution towers."""

_MATRICES: Final = (
    (1, 768, 768),
    (1, 2048, 1000),
    (16, 512, 512),
    (128, 768, 768),
    (128, 768, 3072),
)
"""Rows, inner size and columns of products with a parameter."""

_HEADS: Final = ((4, 64, 64), (12, 128, 64), (8, 512, 64))
"""Heads, tokens and size of a head."""

BULK_SIZES: Final = (2**12, 2**14, 2**16, 2**18, 2**20, 2**22, 2**23)
"""Elements of the tensors that elementwise operators run over."""


@dataclass
class _Model:
    """Collects nodes, inputs and parameters."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    stored: list[Any] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def input(self, shape: Sequence[int], elem: int = 1) -> str:
        from onnx import helper

        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, elem, shape))
        return name

    def parameter(self, shape: Sequence[int], dtype: Any = np.float32) -> str:
        from onnx import numpy_helper

        values = self.rng.standard_normal(shape, np.float32) / np.sqrt(max(1, shape[-1]))
        if np.dtype(dtype).kind == "i":
            values = self.rng.integers(-100, 100, shape)
        name = f"w{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(values.astype(dtype), name))
        return name

    def ones(self, size: int) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.ones(size, np.float32), name))
        return name

    def integers(self, values: Sequence[int]) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, op: str, *names: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, names, [output], name=f"{op}_{len(self.nodes)}", **attributes)
        )
        return output

    def end(self, *names: str) -> None:
        self.outputs += names


def probe_model(seed: int = 0) -> Any:
    """Return the ``onnx.ModelProto`` to measure."""
    from onnx import ValueInfoProto, helper

    model = _Model(np.random.default_rng(seed))
    for channels, size in _IMAGES:
        _image_tower(model, channels, size)
    for rows, inner, columns in _MATRICES:
        _matrix(model, rows, inner, columns)
    for heads, tokens, size in _HEADS:
        _attention(model, heads, tokens, size)
    for elements in BULK_SIZES:
        _bulk(model, elements)
    _other_types(model)
    graph = helper.make_graph(
        model.nodes,
        "probes",
        model.inputs,
        [ValueInfoProto(name=name) for name in model.outputs],
        model.stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _image_tower(model: _Model, c: int, size: int) -> None:
    """Every kind of convolution, pooling, normalisation and joining at one resolution."""

    def conv(x: str, ins: int, outs: int, kernel: int, **attributes: Any) -> str:
        group = attributes.get("group", 1)
        weight = model.parameter((outs, ins // group, kernel, kernel))
        pad = kernel // 2
        return model.add("Conv", x, weight, pads=[pad] * 4, **attributes)

    def relu(x: str) -> str:
        return model.add("Relu", x)

    image = model.input((1, 3, 2 * size, 2 * size))
    for kernel in (3, 7):
        model.end(conv(image, 3, c, kernel, strides=[2, 2]))
    x = model.input((1, c, size, size))
    a = conv(relu(conv(x, c, c, 3)), c, c, 3)
    b = conv(relu(conv(a, c, 2 * c, 1)), 2 * c, c, 1)
    d = conv(relu(conv(b, c, c, 3, group=c)), c, c, 5, group=c)
    e = conv(relu(conv(d, c, c, 3, group=4)), c, c, 3, strides=[2, 2])
    f = conv(relu(conv(d, c, 16, 1)), 16, c, 5)
    joined = model.add("Concat", b, f, axis=1)
    scale, shift = model.parameter((1, 2 * c, 1, 1)), model.parameter((1, 2 * c, 1, 1))
    model.end(model.add("Add", model.add("Mul", joined, scale), shift))
    pools = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4}
    model.end(conv(model.add("MaxPool", b, **pools), c, c, 1))
    model.end(conv(model.add("AveragePool", b, **pools), c, c, 1))
    model.end(e, model.add("GlobalAveragePool", d))
    model.end(model.add("LRN", x, size=5))
    statistics = [*(model.parameter((c,)) for _ in range(3)), model.ones(c)]
    model.end(model.add("BatchNormalization", relu(x), *statistics))
    up = model.parameter((c, max(8, c // 2), 2, 2))
    model.end(model.add("ConvTranspose", x, up, strides=[2, 2]))


def _matrix(model: _Model, rows: int, inner: int, columns: int) -> None:
    x = model.input((rows, inner))
    bias = model.parameter((columns,))
    model.end(model.add("Gemm", x, model.parameter((inner, columns)), bias))
    model.end(model.add("MatMul", x, model.parameter((inner, columns))))


def _attention(model: _Model, heads: int, tokens: int, size: int) -> None:
    """Scores, softmax, weighted sum, and what surrounds them in a transformer."""
    q, k, v = (model.input((1, heads, tokens, size)) for _ in range(3))
    scores = model.add("MatMul", q, model.add("Transpose", k, perm=[0, 1, 3, 2]))
    weights = model.add("Softmax", scores, axis=-1)
    summed = model.add("MatMul", weights, v)
    rows = model.add("Transpose", summed, perm=[0, 2, 1, 3])
    flat = model.add("Reshape", rows, model.integers([1, tokens, heads * size]))
    width = heads * size
    normal = model.add(
        "LayerNormalization", flat, model.parameter((width,)), model.parameter((width,))
    )
    for op in ("Erf", "Sigmoid", "Tanh", "Exp"):
        model.end(model.add(op, normal))
    model.end(model.add("ReduceMean", normal, axes=[-1], keepdims=1))
    model.end(
        model.add("Gather", normal, model.integers(list(range(0, tokens, 2))), axis=1),
        model.add("Slice", normal, *(model.integers([n]) for n in (0, tokens // 2, 1))),
    )


def _bulk(model: _Model, elements: int) -> None:
    """Operators over plain tensors: what they cost is what they move."""
    a, b = model.input((elements,)), model.input((elements,))
    model.end(model.add("Add", a, b), model.add("Mul", a, b), model.add("Max", a, b))
    model.end(model.add("Concat", a, b, axis=0))
    square = 2 ** (elements.bit_length() // 2)
    matrix = model.input((square, elements // square))
    model.end(model.add("Transpose", matrix, perm=[1, 0]))
    model.end(model.add("ReduceMean", matrix, axes=[1]), model.add("Softmax", matrix, axis=1))


def _other_types(model: _Model) -> None:
    """Products in other element types: their peak rates follow."""
    from onnx import TensorProto

    for rows, inner, columns in ((64, 512, 512), (256, 1024, 1024)):
        x = model.input((rows, inner), TensorProto.DOUBLE)
        model.end(model.add("MatMul", x, model.parameter((inner, columns), np.float64)))
        x = model.input((rows, inner), TensorProto.UINT8)
        model.end(model.add("MatMulInteger", x, model.parameter((inner, columns), np.int8)))
