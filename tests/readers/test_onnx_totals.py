# SPDX-License-Identifier: Apache-2.0
"""Whole networks against their published sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from stagewright.graph import CostGraph
from stagewright.readers.onnx_model import read_onnx

from .models import INT64, constant, info, make_model, save, weight

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
pytestmark = pytest.mark.skipif(not LIGHT.is_dir(), reason="this onnx comes without light models")


def sources(graph: CostGraph) -> int:
    return graph.num_nodes - len(set(graph.tensor_consumers.values.tolist()))


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        # millions of parameters and billions of multiply-adds as published (within 2 %)
        ("resnet50", 25.6, 4.1),
        ("vgg19", 143.7, 19.6),
        ("densenet121", 8.06, 2.87),
        ("squeezenet", 1.235, 0.352),
        ("bvlc_alexnet", 60.97, 0.66),
        ("zfnet512", 87.25, 1.49),
        ("inception_v1", 7.0, 1.44),
    ],
)
def test_light_models(name: str, parameters: float, multiply_adds: float) -> None:
    graph = read_onnx(LIGHT / f"light_{name}.onnx")
    assert graph.param_bytes.sum() / 4e6 == pytest.approx(parameters, rel=0.02)
    assert graph.flops.sum() / 2e9 == pytest.approx(multiply_adds, rel=0.02)
    assert sources(graph) == 1
    assert not graph.work.any()
    assert set(graph.node_dtypes) == {"float32"}


class Bert:
    """BERT-base as exporters write it; weights have sizes and no data."""

    def __init__(self, tokens: int = 128, layers: int = 12) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = [constant("heads", [0, 0, 12, 64]), constant("flat", [0, 0, 768])]
        x = self.embeddings()
        mask = self.mask()
        for layer in range(layers):
            x = self.layer(x, mask, f"l{layer}")
        inputs = [info(n, [1, tokens], INT64) for n in ("ids", "types", "mask")]
        self.model = make_model(self.nodes, inputs, [info(x, None)], self.weights)

    def op(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def weight(self, name: str, *dims: int) -> str:
        self.weights.append(weight(name, dims))
        return name

    def embeddings(self) -> str:
        tables = [
            self.weight(f"{n}_table", rows, 768) for n, rows in (("word", 30522), ("type", 2))
        ]
        words = self.op("words", "Gather", tables[0], "ids")
        types = self.op("kinds", "Gather", tables[1], "types")
        # positions: a slice of a table by the length of the input, folded by the reader
        self.weight("positions", 512, 768)
        self.weights += [constant("one", [1]), constant("two", [2]), constant("zero", [0])]
        shape = self.op("shape", "Shape", "ids")
        length = self.op("length", "Slice", shape, "one", "two")
        places = self.op("places", "Slice", "positions", "zero", length, "zero")
        total = self.op("sum1", "Add", self.op("sum0", "Add", words, types), places)
        return self.norm(total, "embed")

    def mask(self) -> str:
        wide = self.op("wide", "Unsqueeze", "mask", self.shared("axes", [1, 2]))
        real = self.op("real", "Cast", wide, to=1)
        self.weights += [constant("ones", 1, "float32"), constant("low", -1e4, "float32")]
        return self.op("bias", "Mul", self.op("inverse", "Sub", "ones", real), "low")

    def shared(self, name: str, values: list[int]) -> str:
        self.weights.append(constant(name, values))
        return name

    def norm(self, x: str, name: str) -> str:
        scale, bias = self.weight(f"{name}_g", 768), self.weight(f"{name}_b", 768)
        return self.op(f"{name}_norm", "LayerNormalization", x, scale, bias, axis=-1)

    def dense(self, x: str, name: str, rows: int, columns: int) -> str:
        product = self.op(f"{name}_mm", "MatMul", x, self.weight(f"{name}_w", rows, columns))
        return self.op(f"{name}_add", "Add", product, self.weight(f"{name}_c", columns))

    def layer(self, x: str, mask: str, name: str) -> str:
        def heads(part: str, *perm: int) -> str:
            split = self.op(
                f"{name}{part}r", "Reshape", self.dense(x, name + part, 768, 768), "heads"
            )
            return self.op(f"{name}{part}t", "Transpose", split, perm=perm)

        scores = self.op(f"{name}qk", "MatMul", heads("q", 0, 2, 1, 3), heads("k", 0, 2, 3, 1))
        self.weights.append(constant(f"{name}root", 8, "float32"))
        scaled = self.op(f"{name}div", "Div", scores, f"{name}root")
        weights = self.op(
            f"{name}sm", "Softmax", self.op(f"{name}am", "Add", scaled, mask), axis=-1
        )
        context = self.op(f"{name}av", "MatMul", weights, heads("v", 0, 2, 1, 3))
        merged = self.op(f"{name}ct", "Transpose", context, perm=[0, 2, 1, 3])
        flat = self.op(f"{name}cr", "Reshape", merged, "flat")
        x = self.norm(
            self.op(f"{name}s1", "Add", x, self.dense(flat, f"{name}o", 768, 768)), f"{name}n1"
        )
        wide = self.op(f"{name}ge", "Gelu", self.dense(x, f"{name}f1", 768, 3072))
        back = self.dense(wide, f"{name}f2", 3072, 768)
        return self.norm(self.op(f"{name}s2", "Add", x, back), f"{name}n2")


def test_bert_base(tmp_path: Path) -> None:
    """Published: 22.5 GFLOP at 128 tokens (85 M multiply-adds per token, and attention), 110 M."""
    graph = read_onnx(save(Bert().model, tmp_path))
    assert graph.flops.sum() == pytest.approx(22e9, rel=0.03)
    products = sum(
        int(f) for f, op in zip(graph.flops, graph.node_ops, strict=True) if op == "MatMul"
    )
    # 12 layers of 4 x 768^2 + 2 x 768 x 3072 weights, and two products of 128 x 128 x 768
    assert products == 2 * 12 * 128 * (4 * 768**2 + 2 * 768 * 3072 + 2 * 128 * 768)
    # without the pooler; of the 512 positions the 128 used are held
    parameters = graph.param_bytes.sum() / 4e6
    assert parameters == pytest.approx(109.5 - 0.59 - 384 * 768 / 1e6, rel=0.005)
    assert {"shape", "length", "places"}.isdisjoint(graph.node_names)
    assert sources(graph) == 3  # words, kinds, and the mask
