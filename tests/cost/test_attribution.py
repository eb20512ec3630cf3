# SPDX-License-Identifier: Apache-2.0
"""Carrying nodes of an optimised model back to the nodes of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stagewright.cost.attribution import attribute, marked_name

helper = pytest.importorskip("onnx").helper


def graph_of(
    nodes: Sequence[tuple[str, str, list[str], list[str]]], stored: Sequence[str] = (), **more: Any
) -> Any:
    """Build a graph of (name, op, inputs, outputs); `stored` are its initialisers."""
    made = [helper.make_node(op, inputs, outputs, name=name) for name, op, inputs, outputs in nodes]
    graph = helper.make_graph(made, "g", [], [helper.make_empty_tensor_value_info("out")])
    for name in stored:
        graph.initializer.add().name = name
    return graph


def model_of(nodes: Sequence[tuple[str, list[str], list[str]]], stored: Sequence[str] = ()) -> Any:
    return graph_of(
        [(marked_name(i), op, inputs, outputs) for i, (op, inputs, outputs) in enumerate(nodes)],
        stored,
    )


def shares_of(
    model: Any, optimised: Any, weights: Sequence[float] = (1,) * 20
) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for (name, _, number), shares in attribute(model, optimised, weights).items():
        assert sum(shares.values()) == pytest.approx(1), name
        found[f"{name}#{number}" if number else name] = dict(shares)
    return found


CONV_RELU = [
    ("Conv", ["x", "w"], ["c"]),
    ("Relu", ["c"], ["r"]),
    ("MaxPool", ["r"], ["out"]),
]


def test_kept_nodes_map_to_themselves() -> None:
    model = model_of(CONV_RELU, ["w"])
    assert shares_of(model, model) == {marked_name(i): {i: 1.0} for i in range(3)}


def test_fused_node_is_split_by_weight() -> None:
    optimised = graph_of(
        [
            (marked_name(0), "FusedConv", ["x", "w"], ["r"]),
            (marked_name(2), "MaxPool", ["r"], ["out"]),
        ],
        ["w"],
    )
    found = shares_of(model_of(CONV_RELU, ["w"]), optimised, [3, 1, 5])
    assert found == {marked_name(0): {0: 0.75, 1: 0.25}, marked_name(2): {2: 1.0}}


def test_nothing_to_weigh_by_is_split_equally() -> None:
    optimised = graph_of([("fused", "Fused", ["x", "w"], ["out"])], ["w"])
    found = shares_of(model_of(CONV_RELU, ["w"]), optimised, [0, 0, 0])
    assert found["fused"] == pytest.approx({0: 1 / 3, 1: 1 / 3, 2: 1 / 3})


def test_blocked_layout_names_and_inserted_reorders() -> None:
    optimised = graph_of(
        [
            ("ReorderInput", "ReorderInput", ["x"], ["reorder_token_0"]),
            ("r_nchwc", "Conv", ["reorder_token_0", "reorder"], ["reorder_token_1"]),
            ("out_nchwc_token_7", "MaxPool", ["reorder_token_1"], ["reorder_token_2"]),
            ("ReorderOutput", "ReorderOutput", ["reorder_token_2"], ["out"]),
        ],
        ["reorder"],
    )
    assert shares_of(model_of(CONV_RELU, ["w"]), optimised) == {
        "ReorderInput": {0: 0.5, 1: 0.5},  # no tensor of the model: its consumer's
        "r_nchwc": {0: 0.5, 1: 0.5},
        "out_nchwc_token_7": {2: 1.0},
        "ReorderOutput": {2: 1.0},  # makes a tensor of the model: its producer's
    }


def test_absorbed_addition_and_activation() -> None:
    model = model_of(
        [
            ("Conv", ["x", "w"], ["a"]),
            ("Conv", ["a", "w"], ["b"]),
            ("Add", ["b", "a"], ["s"]),
            ("Relu", ["s"], ["r"]),
            ("MaxPool", ["r"], ["out"]),
        ],
        ["w"],
    )
    optimised = graph_of(
        [
            ("a_nchwc", "Conv", ["x", "w"], ["t0"]),
            ("b_nchwc", "Conv", ["t0", "w", "bias", "t0"], ["t1"]),
            ("out_nchwc", "MaxPool", ["t1"], ["out"]),
        ],
        ["w", "bias"],
    )
    optimised.node[1].attribute.append(helper.make_attribute("activation", "Relu"))
    assert shares_of(model, optimised) == {
        "a_nchwc": {0: 1.0},
        "b_nchwc": {1: pytest.approx(1 / 3), 2: pytest.approx(1 / 3), 3: pytest.approx(1 / 3)},
        "out_nchwc": {4: 1.0},
    }


def test_folded_nodes_get_nothing() -> None:
    model = model_of(
        [
            ("ConstantOfShape", ["shape"], ["w"]),
            ("Unsqueeze", ["w"], ["u"]),
            ("Mul", ["x", "u"], ["m"]),
            ("Relu", ["m"], ["out"]),
        ],
        ["shape"],
    )
    optimised = graph_of([("fused", "Fused", ["x", "folded"], ["out"])], ["folded"])
    assert shares_of(model, optimised) == {"fused": {2: 0.5, 3: 0.5}}


def test_random_numbers_are_not_constants() -> None:
    model = model_of([("RandomNormal", [], ["n"]), ("Relu", ["n"], ["out"])])
    optimised = graph_of([("fused", "Fused", [], ["out"])])
    assert shares_of(model, optimised) == {"fused": {0: 0.5, 1: 0.5}}


def test_unknown_name_with_unknown_output_goes_to_the_consumer() -> None:
    optimised = graph_of(
        [
            ("new", "Split", ["x"], ["p", "q"]),
            ("whole", "Fused", ["p", "q", "w"], ["out"]),
        ],
        ["w"],
    )
    found = shares_of(model_of(CONV_RELU, ["w"]), optimised)
    assert found["new"] == found["whole"]
    assert set(found["new"]) == {0, 1, 2}


def test_extended_name_stands_for_its_main_node() -> None:
    model = model_of(
        [
            ("MatMul", ["x", "w"], ["m"]),
            ("Add", ["m", "b"], ["a"]),
            ("Pow", ["a", "two"], ["p"]),
            ("Sqrt", ["p"], ["out"]),
        ],
        ["w", "b", "two"],
    )
    optimised = graph_of(
        [
            (f"{marked_name(0)}/MatMulAddFusion", "Gemm", ["x", "w", "b"], ["new"]),
            ("reshape", "Reshape", ["new", "shape"], ["a"]),
            ("", "Fused", ["a"], ["inner"]),
            ("", "Fused", ["inner"], ["out"]),
        ],
        ["w", "b", "shape"],
    )
    assert shares_of(model, optimised) == {
        f"{marked_name(0)}/MatMulAddFusion": {0: 1.0},
        "reshape": {1: 1.0},
        "": {2: 0.5, 3: 0.5},
        "#1": {2: 0.5, 3: 0.5},
    }


def test_second_node_of_one_name_shares_its_node() -> None:
    optimised = graph_of(
        [
            (marked_name(0), "Conv", ["x", "w"], ["c"]),
            (marked_name(1), "Relu", ["c"], ["r"]),
            (f"{marked_name(1)}/expanded", "Max", ["x", "w"], ["nobody reads this"]),
        ],
        ["w"],
    )
    found = shares_of(model_of(CONV_RELU, ["w"]), optimised)
    assert found[f"{marked_name(1)}/expanded"] == {1: 1.0}


def test_bodies_read_what_they_capture() -> None:
    body = helper.make_graph(
        [helper.make_node("Relu", ["c"], ["inside"])],
        "body",
        [],
        [helper.make_empty_tensor_value_info("inside")],
    )
    model = model_of([("Conv", ["x", "w"], ["c"]), ("If", ["x"], ["out"])], ["w"])
    for key in ("then_branch", "else_branch"):
        model.node[1].attribute.append(helper.make_attribute(key, body))
    optimised = graph_of([("fused", "Fused", ["x", "w"], ["out"])], ["w"])
    assert shares_of(model, optimised) == {"fused": {0: 0.5, 1: 0.5}}
