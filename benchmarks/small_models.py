# SPDX-License-Identifier: Apache-2.0
"""Models made on the spot that have what published ones lack: branches, long skips, free sizes, much weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Builder", "branching", "heavy", "transformer", "unet"]

_OPSET = 17


class Builder:
    """Collects nodes and weights; every node is named after its output."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng, self._count = np.random.default_rng(seed), 0

    def weight(self, *shape: int) -> str:
        """Add a matrix or a kernel, scaled so that values neither grow nor vanish."""
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        values = self._rng.standard_normal(shape, dtype=np.float32) * np.float32(fan_in**-0.5)
        return self.constant(values)

    def constant(self, values: Any) -> str:
        """Add an initialiser."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        self._count += 1
        name = output or f"{op.lower()}{self._count}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the checked model."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights)
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.checker.check_model(model)
        return model


def _info(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def unet(levels: int = 3, width: int = 16, size: int = 64) -> onnx.ModelProto:
    """Return a U-Net: every level of the way down is read again on the way up."""
    b = Builder()

    def conv(x: str, channels: int, out: int) -> str:
        y = b.node("Conv", x, b.weight(out, channels, 3, 3), kernel_shape=[3, 3], pads=[1] * 4)
        return b.node("Relu", y)

    x, channels, skips = "x", 3, []
    for level in range(levels):
        out = width << level
        x = conv(conv(x, channels, out), out, out)
        skips.append((x, out))
        x, channels = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), out
    x = conv(x, channels, 2 * channels)
    channels *= 2
    for skip, out in reversed(skips):
        kernel = b.weight(channels, out, 2, 2)
        x = b.node("ConvTranspose", x, kernel, kernel_shape=[2, 2], strides=[2, 2])
        x = conv(b.node("Concat", x, skip, axis=1), 2 * out, out)
        channels = out
    kernel = b.weight(1, channels, 1, 1)
    b.node("Conv", x, kernel, output="mask", kernel_shape=[1, 1])
    return b.model("unet", [_info("x", 1, 3, size, size)], [_info("mask", 1, 1, size, size)])


def transformer(layers: int = 4, width: int = 64, heads: int = 4) -> onnx.ModelProto:
    """Return an encoder whose batch and sequence are symbolic sizes."""
    b = Builder()
    zero, two = b.constant(np.array([0])), b.constant(np.array([2]))
    per_head = b.constant(np.array([heads, width // heads]))
    scale, ones, zeros = (
        b.constant(np.float32((width // heads) ** -0.5)),
        b.constant(np.ones(width, np.float32)),
        b.constant(np.zeros(width, np.float32)),
    )
    x = "x"
    for _ in range(layers):
        y = b.node("LayerNormalization", x, ones, zeros, axis=-1)
        q, k, v = (b.node("MatMul", y, b.weight(width, width)) for _ in range(3))
        shape = b.node("Shape", q)
        split = b.node("Concat", b.node("Slice", shape, zero, two), per_head, axis=0)
        q, k, v = (b.node("Reshape", t, split) for t in (q, k, v))
        q, v = (b.node("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
        k = b.node("Transpose", k, perm=[0, 2, 3, 1])
        scores = b.node("Softmax", b.node("Mul", b.node("MatMul", q, k), scale), axis=-1)
        mixed = b.node("Transpose", b.node("MatMul", scores, v), perm=[0, 2, 1, 3])
        mixed = b.node("MatMul", b.node("Reshape", mixed, shape), b.weight(width, width))
        x = b.node("Add", x, mixed)
        y = b.node("LayerNormalization", x, ones, zeros, axis=-1)
        y = b.node("Relu", b.node("MatMul", y, b.weight(width, 4 * width)))
        x = b.node("Add", x, b.node("MatMul", y, b.weight(4 * width, width)))
    b.node("LayerNormalization", x, ones, zeros, axis=-1, output="y")
    sizes = ("batch", "sequence", width)
    return b.model("transformer", [_info("x", *sizes)], [_info("y", *sizes)])


def branching(layers: int = 6, width: int = 128) -> onnx.ModelProto:
    """Return a network with an If in its middle, whose branches read what was made outside."""
    b = Builder()
    x = "x"
    for layer in range(layers):
        x = b.node("Tanh", b.node("MatMul", x, b.weight(width, width)))
        if layer == layers // 2:
            inner = Builder(seed=1)
            inner.node("MatMul", x, b.weight(width, width), output="left")
            left = helper.make_graph(inner.nodes, "then", [], [_info("left", 4, width)])
            other = Builder()
            other.node("Neg", x, output="right")
            right = helper.make_graph(other.nodes, "else", [], [_info("right", 4, width)])
            x = b.node("If", "deep", then_branch=left, else_branch=right)
    b.node("Relu", x, output="y")
    inputs = [_info("x", 4, width), _info("deep", kind=TensorProto.BOOL)]
    return b.model("branching", inputs, [_info("y", 4, width)])


def heavy(path: Path, gib: float = 2.25, width: int = 8192) -> None:
    """Write a chain of matrix products with more than `gib` GiB of weights beside the model file."""
    per_layer = 4 * width * width
    layers = -(-int(gib * 2**30) // per_layer)
    nodes, weights, x = [], [], "x"
    rng = np.random.default_rng(0)
    with path.with_suffix(".data").open("wb") as data:
        for layer in range(layers):
            values = rng.standard_normal((width, width), dtype=np.float32) * np.float32(width**-0.5)
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=values.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", path.with_suffix(".data").name),
                ("offset", data.tell()),
                ("length", values.nbytes),
            ):
                tensor.external_data.add(key=key, value=str(value))
            data.write(values.data)
            weights.append(tensor)
            y = f"p{layer}"
            nodes.append(helper.make_node("MatMul", [x, f"w{layer}"], [y], name=y))
            x = f"x{layer}" if layer + 1 < layers else "y"
            nodes.append(helper.make_node("Tanh", [y], [x], name=x))
    graph = helper.make_graph(
        nodes, "heavy", [_info("x", 1, width)], [_info("y", 1, width)], weights
    )
    opset = [helper.make_opsetid("", _OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
