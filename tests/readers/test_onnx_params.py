# SPDX-License-Identifier: Apache-2.0
"""Parameters: initialisers, Constant nodes, folding, tied weights, external data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stagewright.errors import ModelError
from stagewright.graph import CostGraph
from stagewright.readers.onnx_model import onnx_node_names, read_onnx, read_onnx_details

from .models import INT8, INT64, constant, info, make_model, save, weight


def params(graph: CostGraph) -> list[tuple[int, list[str]]]:
    """Return bytes and user names of each parameter."""
    names = graph.node_names
    rows = zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True)
    return [(size, [names[u] for u in users]) for size, users in rows]


def op(name: str, kind: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [name], name, **attributes)


def read(folder: Path, nodes: list[Any], initial: list[Any], **extra: Any) -> CostGraph:
    fold = extra.pop("fold", True)
    inputs = extra.pop("inputs", [info("x", [2, 4])])
    return read_onnx(save(make_model(nodes, inputs, [], initial, **extra), folder), fold=fold)


def test_shared_and_unused_parameters(tmp_path: Path) -> None:
    nodes = [op("a", "MatMul", "x", "w"), op("b", "MatMul", "a", "w"), op("c", "Add", "b", "v")]
    initial = [weight("w", [4, 4]), weight("v", [4]), weight("unused", [100])]
    graph = read(tmp_path, nodes, initial)
    assert params(graph) == [(64, ["a", "b"]), (16, ["c"])]


def test_initialisers_listed_as_inputs(tmp_path: Path) -> None:
    nodes = [op("a", "MatMul", "x", "w")]
    inputs = [info("x", [2, 4]), info("w", [4, "n"])]
    graph = read(tmp_path, nodes, [weight("w", [4, 3])], inputs=inputs, ir_version=3, opset=8)
    assert params(graph) == [(48, ["a"])]
    assert graph.flops.tolist() == [48]


def test_constant_nodes_are_parameters(tmp_path: Path) -> None:
    big = helper.make_node("Constant", [], ["w"], "w", value=weight("", [4, 6]))
    small = [
        helper.make_node("Constant", [], ["f"], "f", value_float=1.0),
        helper.make_node("Constant", [], ["fs"], "fs", value_floats=[1.0] * 6),
    ]
    nodes = [
        big,
        *small,
        op("a", "MatMul", "x", "w"),
        op("b", "Add", "a", "f"),
        op("c", "Add", "b", "fs"),
    ]
    for fold in (True, False):
        graph = read(tmp_path, nodes, [], fold=fold)
        assert graph.node_names == ("a", "b", "c")
        assert params(graph) == [(96, ["a"]), (4, ["b"]), (24, ["c"])]


def test_sparse_initialisers(tmp_path: Path) -> None:
    values, indices = weight("w", [3]), weight("", [3], INT64)
    sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=[4, 5])
    graph = read(tmp_path, [op("a", "MatMul", "x", "w")], [], sparse_initializer=[sparse])
    assert params(graph) == [(3 * 4 + 3 * 8, ["a"])]
    assert graph.flops.tolist() == [80]


def test_folded_nodes_leave_their_result(tmp_path: Path) -> None:
    nodes = [
        op("mask", "ConstantOfShape", "dims"),  # 16 bytes make 4000
        op("half", "Slice", "table", "zero", "two", "zero"),  # 400 bytes make 8
        op("sum", "Add", "mask", "half"),
        op("a", "Add", "x", "sum"),
    ]
    initial = [constant("dims", [500, 2]), constant("zero", [0]), constant("two", [2])]
    initial.append(weight("table", [100]))
    inputs = [info("x", [500, 1])]
    graph = read(tmp_path, nodes, initial, inputs=inputs)
    assert graph.node_names == ("a",)
    assert params(graph) == [(4000, ["a"])]
    kept = read(tmp_path, nodes, initial, inputs=inputs, fold=False)
    assert kept.node_names == ("mask", "half", "sum", "a")


def test_a_layout_change_of_a_parameter_is_the_same_parameter(tmp_path: Path) -> None:
    nodes = [
        op("words", "Gather", "table", "ids"),
        op("turned", "Transpose", "table"),
        op("logits", "MatMul", "words", "turned"),
    ]
    graph = read(tmp_path, nodes, [weight("table", [50, 8])], inputs=[info("ids", [3], INT64)])
    assert params(graph) == [(1600, ["words", "logits"])]


def test_quantised_weights_stay_quantised(tmp_path: Path) -> None:
    nodes = [op("w", "DequantizeLinear", "q", "s", "z"), op("a", "MatMul", "x", "w")]
    initial = [weight("q", [4, 5], INT8), constant("s", 1, np.float32), constant("z", 0, np.int8)]
    assert params(read(tmp_path, nodes, initial)) == [(20 + 4 + 1, ["a"])]


def test_random_numbers_are_no_constants(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomNormal", [], ["n"], "n", shape=[2, 4]),
        op("a", "Add", "x", "n"),
    ]
    assert read(tmp_path, nodes, []).node_names == ("n", "a")


def test_shapes_of_varying_tensors_are_constant(tmp_path: Path) -> None:
    nodes = [
        op("r", "Relu", "x"),
        op("shape", "Shape", "r"),
        op("rows", "Gather", "shape", "zero"),
        op("rest", "Concat", "rows", "minus", axis=0),
        op("flat", "Reshape", "r", "rest"),
    ]
    initial = [constant("zero", [0]), constant("minus", [-1])]
    path = save(make_model(nodes, [info("x", [2, 3, 4])], [], initial), tmp_path)
    reading = read_onnx_details(path)
    assert reading.graph.node_names == ("r", "flat")
    assert reading.names == ("r", "shape", "rows", "rest", "flat")
    assert params(reading.graph) == [(16, ["flat"])]
    assert reading.graph.tensor_bytes.tolist() == [96, 96]
    assert {k: v.tolist() for k, v in reading.static.items()} == {
        "shape": [2, 3, 4],
        "rows": [2],
        "rest": [2, -1],
    }
    kept = read_onnx(path, fold=False)
    assert kept.node_names == reading.names
    assert kept.tensor_bytes.tolist() == [96, 24, 8, 16, 96]


def test_names_of_nodes() -> None:
    def node(name: str, *outputs: str) -> Any:
        return helper.make_node("Relu", ["x"], list(outputs), name)

    nodes = [node("a", "1"), node("b", "2"), node("a", "3"), node("", "4"), node("Relu:3", "5")]
    names = onnx_node_names(make_model([*nodes, node("", "4")], []))
    assert names == ["Relu:1", "b", "Relu:3#2", "Relu:4", "Relu:3", "Relu:4#2"]


def external(dims: list[int], location: str, **entries: str) -> Any:
    made = TensorProto(
        name="w", dims=dims, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": location, **entries}.items():
        made.external_data.add(key=key, value=value)
    return made


@pytest.mark.parametrize("location", ["w.bin", "deep/w.bin", "./w.bin"])
def test_external_data_need_not_be_there(tmp_path: Path, location: str) -> None:
    initial = [external([4, 2**28], location, offset="4096", length=str(2**32))]
    graph = read(tmp_path, [op("a", "MatMul", "x", "w")], initial)
    assert graph.param_bytes.tolist() == [2**32]


def test_small_external_constants_are_read(tmp_path: Path) -> None:
    shape = external([2], "w.bin", offset="3", length="16")
    shape.data_type = TensorProto.INT64
    (tmp_path / "w.bin").write_bytes(b"abc" + np.array([8, -1]).tobytes())
    graph = read(tmp_path, [op("a", "Reshape", "x", "w"), op("b", "Relu", "a")], [shape])
    assert graph.flops.tolist() == [0, 8]
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match="unknown ones: 'a' \\(node 'a', Reshape\\)"):
        read(tmp_path, [op("a", "Reshape", "x", "w"), op("b", "Relu", "a")], [shape])


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError) as caught:
        read(inside, [op("a", "MatMul", "x", "w")], [external([4, 4], "w.bin")])
    assert str(caught.value) == (
        f"{inside / 'model.onnx'}: initialiser 'w': external data location: expected a relative "
        f"path inside the model's folder, got 'w.bin', a link to {tmp_path / 'secret'}"
    )


def test_a_link_within_the_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(bytes(64))
    (tmp_path / "w.bin").symlink_to(tmp_path / "real.bin")
    graph = read(tmp_path, [op("a", "MatMul", "x", "w")], [external([4, 4], "w.bin")])
    assert graph.param_bytes.tolist() == [64]


@pytest.mark.parametrize(
    ("elem", "nbytes"),
    [("UINT4", 11), ("BFLOAT16", 42), ("FLOAT8E4M3FN", 21), ("COMPLEX128", 336), ("BOOL", 21)],
)
def test_sizes_of_element_types(tmp_path: Path, elem: str, nbytes: int) -> None:
    node = op("a", "Custom", "x", "w", domain="local")
    with pytest.warns(match="operators without a cost rule"):
        graph = read(tmp_path, [node], [weight("w", [3, 7], TensorProto.DataType.Value(elem))])
    assert graph.param_bytes.tolist() == [nbytes]
