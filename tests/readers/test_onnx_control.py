# SPDX-License-Identifier: Apache-2.0
"""Bodies and functions: captures, costs by trips, what a body hands out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from stagewright.errors import ModelError
from stagewright.graph import CostGraph
from stagewright.readers import StagewrightWarning
from stagewright.readers.onnx_model import read_onnx

from .models import FLOAT, INT64, constant, info, make_model, save, weight
from .test_onnx_params import op, params

BOOL = TensorProto.BOOL


def body(nodes: list[Any], inputs: list[Any], outputs: list[str], initial: Any = ()) -> Any:
    made = [helper.make_value_info(o, helper.make_tensor_type_proto(FLOAT, None)) for o in outputs]
    return helper.make_graph(nodes, "body", inputs, made, initial)


def read(
    folder: Path, nodes: list[Any], inputs: list[Any], initial: Any = (), **extra: Any
) -> CostGraph:
    return read_onnx(save(make_model(nodes, inputs, [], initial, **extra), folder))


def branches() -> dict[str, Any]:
    """A branch of 2 * 2 * 4 * 8 operations with a captured tensor and weight, and one of 8."""
    return {
        "then_branch": body([op("p", "MatMul", "r", "w")], [], ["p"]),
        "else_branch": body([op("q", "Add", "r", "v")], [], ["q"], [weight("v", [2, 4])]),
    }


def test_if_takes_the_more_expensive_branch(tmp_path: Path) -> None:
    nodes = [op("r", "Relu", "x"), op("y", "If", "c", **branches()), op("z", "Relu", "y")]
    inputs = [info("x", [2, 4]), info("c", [], BOOL)]
    with pytest.warns(StagewrightWarning, match="at their largest: If$"):
        graph = read(tmp_path, nodes, inputs, [weight("w", [4, 8])])
    assert graph.flops.tolist() == [8, 128, 16]
    assert graph.tensor_consumers.rows() == [[1], [2], []]
    assert params(graph) == [(128, ["y"]), (32, ["y"])]
    assert graph.tensor_bytes.tolist() == [32, 64, 64]


def test_if_with_a_constant_condition(tmp_path: Path) -> None:
    nodes = [op("r", "Relu", "x"), op("y", "If", "c", **branches())]
    graph = read(
        tmp_path, nodes, [info("x", [2, 4])], [weight("w", [4, 8]), constant("c", False, bool)]
    )
    assert graph.flops.tolist() == [8, 8]
    assert params(graph) == [(32, ["y"]), (1, ["y"])]
    assert graph.tensor_bytes.tolist() == [32, 32]


def loop_body() -> Any:
    nodes = [
        op("next", "MatMul", "state", "w"),
        op("part", "Relu", "next"),
        op("cond_out", "Identity", "cond_in"),
    ]
    inputs = [info("i", [], INT64), info("cond_in", [], BOOL), info("state", None)]
    return body(nodes, inputs, ["cond_out", "next", "part"])


def test_loop_times_trips(tmp_path: Path) -> None:
    loop = helper.make_node("Loop", ["m", "", "x"], ["last", "parts"], "loop", body=loop_body())
    initial = [weight("w", [4, 4]), constant("m", 5)]
    graph = read(tmp_path, [loop, op("y", "Relu", "parts")], [info("x", [2, 4])], initial)
    assert graph.flops.tolist() == [5 * (64 + 8), 5 * 8]
    assert graph.tensor_bytes.tolist() == [32, 160, 160]
    assert params(graph) == [(64, ["loop"]), (8, ["loop"])]


def test_loop_of_unknown_length(tmp_path: Path) -> None:
    loop = helper.make_node("Loop", ["m", "", "x"], ["last", "parts"], "loop", body=loop_body())
    inputs = [info("x", [2, 4]), info("m", [], INT64)]
    with pytest.warns(StagewrightWarning) as caught:
        graph = read(tmp_path, [loop, op("y", "Relu", "parts")], inputs, [weight("w", [4, 4])])
    assert [str(w.message) for w in caught] == [
        f"{tmp_path / 'model.onnx'}: loops of unknown length counted as one iteration: Loop"
    ]
    assert graph.flops.tolist() == [72, 8]


def test_nested_captures(tmp_path: Path) -> None:
    inner = body([op("deep", "Add", "r", "local")], [], ["deep"])
    outer = body(
        [op("local", "Abs", "x"), op("inner", "If", "c", then_branch=inner, else_branch=inner)],
        [],
        ["inner"],
    )
    nodes = [op("r", "Relu", "x"), op("y", "If", "c", then_branch=outer, else_branch=outer)]
    graph = read(tmp_path, nodes, [info("x", [2, 4]), info("c", [], BOOL)])
    assert graph.tensor_consumers.rows() == [[1], []]
    assert graph.flops.tolist() == [8, 16]


def test_scan_times_its_length(tmp_path: Path) -> None:
    step = body(
        [op("h", "Add", "state", "slice"), op("out", "MatMul", "h", "w")],
        [info("state", None), info("slice", None)],
        ["h", "out"],
    )
    scan = helper.make_node(
        "Scan", ["s", "x"], ["last", "outs"], "scan", body=step, num_scan_inputs=1
    )
    inputs = [info("s", [3, 4]), info("x", [7, 3, 4])]
    graph = read(tmp_path, [scan], inputs, [weight("w", [4, 2])])
    assert graph.flops.tolist() == [7 * (12 + 2 * 3 * 4 * 2)]
    assert graph.tensor_bytes.tolist() == [48, 7 * 6 * 4]


def test_scan_of_operator_set_8_has_a_batch(tmp_path: Path) -> None:
    step = body(
        [op("h", "Add", "state", "slice"), op("out", "Relu", "h")],
        [info("state", None), info("slice", None)],
        ["h", "out"],
    )
    scan = helper.make_node(
        "Scan", ["", "s", "x"], ["last", "outs"], "scan", body=step, num_scan_inputs=1
    )
    inputs = [info("s", [2, 4]), info("x", [2, 7, 4])]
    graph = read(tmp_path, [scan], inputs, opset=8)
    assert graph.flops.tolist() == [2 * 7 * (4 + 4)]
    assert graph.tensor_bytes.tolist() == [32, 2 * 7 * 4 * 4]


def test_sequences(tmp_path: Path) -> None:
    square = body([op("e2", "Mul", "e", "e")], [info("e", None)], ["e2"])
    nodes = [
        op("parts", "SplitToSequence", "x", axis=0),
        op("squares", "SequenceMap", "parts", body=square),
        op("first", "SequenceAt", "squares", "zero"),
        op("all", "ConcatFromSequence", "squares", axis=0),
    ]
    outputs = [info("first", [1, 4]), info("all", [6, 4])]
    model = make_model(nodes, [info("x", [6, 4])], outputs, [constant("zero", 0)])
    graph = read_onnx(save(model, tmp_path))
    assert graph.flops.tolist() == [0, 24, 0, 0]
    assert graph.tensor_bytes.tolist() == [96, 96, 16, 96]
    assert graph.tensor_consumers.rows() == [[1], [2, 3], [], []]


def test_a_function_is_one_node(tmp_path: Path) -> None:
    leaky = helper.make_node("LeakyRelu", ["p"], ["b"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=1)
    inner = [helper.make_node("MatMul", ["a", "w"], ["p"]), leaky]
    opsets = [helper.make_opsetid("", 21)]
    function = helper.make_function("local", "Dense", ["a", "w"], ["b"], inner, opsets, ["slope"])
    twice = [
        helper.make_node("Dense", ["a", "w"], ["t"], domain="local", slope=0.1),
        helper.make_node("Dense", ["t", "w"], ["b"], domain="local", slope=0.1),
    ]
    opsets.append(helper.make_opsetid("local", 1))
    outer = helper.make_function("local", "Twice", ["a", "w"], ["b"], twice, opsets)
    node = op("y", "Twice", "x", "w", domain="local")
    graph = read(
        tmp_path, [node], [info("x", [2, 4])], [weight("w", [4, 4])], functions=[function, outer]
    )
    assert graph.node_names == ("y",)
    assert graph.node_ops == ("local.Twice",)
    assert graph.flops.tolist() == [2 * (64 + 16)]
    assert graph.nbytes.tolist() == [2 * ((32 + 64 + 32) + 64)]
    assert params(graph) == [(64, ["y"])]
    assert graph.tensor_bytes.tolist() == [32]


def test_a_constant_handed_out_by_a_body_is_held(tmp_path: Path) -> None:
    plain = body([], [], ["v"], [weight("v", [2, 4])])
    nodes = [op("y", "If", "c", then_branch=plain, else_branch=plain), op("z", "Add", "y", "x")]
    graph = read(tmp_path, nodes, [info("x", [2, 4]), info("c", [], BOOL)])
    assert params(graph) == [(32, ["y"]), (32, ["y"])]
    assert graph.tensor_consumers.rows() == [[1], []]


def test_growth_of_nested_functions_is_bounded(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    functions = []
    for level in range(40):
        callee = ("Relu", "") if level == 0 else (f"F{level - 1}", "local")
        calls = [
            helper.make_node(callee[0], ["a"], ["t"], domain=callee[1]),
            helper.make_node(callee[0], ["t"], ["b"], domain=callee[1]),
        ]
        functions.append(helper.make_function("local", f"F{level}", ["a"], ["b"], calls, opsets))
    node = op("y", "F39", "x", domain="local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stagewright.readers.onnx_walk.VISIT_LIMIT", 10_000)
        with pytest.raises(
            ModelError, match="functions: expected at most 10000 nodes when expanded"
        ):
            read(tmp_path, [node], [info("x", [2])], functions=functions)


def test_a_branch_that_cannot_run_at_the_given_shapes_is_left_out(tmp_path: Path) -> None:
    """As in models with a branch for each of several fixed input sizes."""
    unfit = body([op("k", "Identity", "v"), op("q", "MatMul", "r", "k")], [], ["q"])
    unfit.initializer.append(weight("v", [5, 8]))
    nested = body([op("n", "If", "d", then_branch=unfit, else_branch=unfit)], [], ["n"])
    both = {"then_branch": branches()["then_branch"], "else_branch": nested}
    nodes = [op("r", "Relu", "x"), op("y", "If", "c", **both)]
    inputs = [info("x", [2, 4]), info("c", [], BOOL), info("d", [], BOOL)]
    with pytest.warns(StagewrightWarning, match="taken as never chosen: 'y'$"):
        graph = read(tmp_path, nodes, inputs, [weight("w", [4, 8])])
    assert graph.flops.tolist() == [8, 128]
    assert graph.tensor_bytes.tolist() == [32, 64]
    # A device holds the weights of that branch all the same.
    assert params(graph) == [(128, ["y"]), (160, ["y"]), (160, ["y"])]


def test_without_a_branch_that_can_run_the_first_fault_is_told(tmp_path: Path) -> None:
    unfit = body([op("q", "MatMul", "r", "w")], [], ["q"])
    nodes = [op("r", "Relu", "x"), op("y", "If", "c", then_branch=unfit, else_branch=unfit)]
    inputs = [info("x", [2, 4]), info("c", [], BOOL)]
    with pytest.raises(ModelError, match="node 'y': then_branch: node 'q': expected inputs that"):
        read(tmp_path, nodes, inputs, [weight("w", [5, 8])])
