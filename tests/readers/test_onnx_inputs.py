# SPDX-License-Identifier: Apache-2.0
"""Fixing shapes: symbolic dimensions, given shapes, what is still missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, ValueInfoProto, helper

from stagewright import api
from stagewright.errors import ModelError
from stagewright.readers import StagewrightWarning, load
from stagewright.readers.onnx_model import read_onnx
from stagewright.readers.settings import ReadSettings

from .models import FLOAT, INT64, constant, info, make_model, save
from .test_onnx_params import op


def two_inputs(folder: Path) -> Path:
    nodes = [op("a", "Add", "x", "mask"), op("b", "Relu", "a")]
    inputs = [info("x", ["batch", "length", 8]), info("mask", ["batch", 1, 8])]
    return save(make_model(nodes, inputs), folder)


def refused(path: Path, **given: Any) -> str:
    with pytest.raises(ModelError) as caught:
        read_onnx(path, **given)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("shapes", "dims"),
    [
        ({}, {"batch": 2, "length": 3}),
        ({"x": (2, 3, 8)}, {}),  # fixes the batch of the mask, too
        ({"x": [2, 3, 8], "mask": (2, 1, 8)}, {}),
        ({"mask": (2, 1, 8)}, {"length": 3}),
    ],
)
def test_shapes_are_fixed(
    tmp_path: Path, shapes: Mapping[str, Sequence[int]], dims: Mapping[str, int]
) -> None:
    graph = read_onnx(two_inputs(tmp_path), shapes=shapes, dims=dims)
    assert graph.flops.tolist() == [48, 48]
    assert graph.nbytes.tolist() == [4 * (48 + 16 + 48), 8 * 48]


def test_the_batch_is_what_inputs_begin_with(tmp_path: Path) -> None:
    path = two_inputs(tmp_path)
    graph = load(path, dims={"length": 3}, settings=ReadSettings(batch=2))
    assert graph.flops.tolist() == [48, 48]
    given = {"x": (2, 3, 8), "mask": (2, 1, 8)}
    with pytest.raises(ModelError, match="batch: expected an input that begins with a symbolic"):
        load(path, shapes=given, settings=ReadSettings(batch=2))
    with pytest.raises(ModelError, match="batch: expected a whole number >= 1, got 0"):
        load(path, settings=ReadSettings(batch=0))


def test_a_batch_of_one_item_goes_from_plan_to_stages(tmp_path: Path) -> None:
    nodes = [op("a", "Relu", "x"), op("b", "Exp", "a")]
    outputs = [info("b", ["batch", 8])]
    path = save(make_model(nodes, [info("x", ["batch", 8])], outputs), tmp_path)
    graph = api.read(path, batch=4, device="cpu-core", fuse=False)
    assert graph.tensor_bytes.tolist() == [128, 128]
    source = api.Source(str(path), settings=ReadSettings(batch=4), fuse=False)
    result = api.plan(graph, 2, bandwidth="100GB/s", source=source)
    assert len(api.split(path, result, tmp_path / "stages").stages) == len(result.plan.stages)


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    path = two_inputs(tmp_path)
    assert refused(path) == (
        "shapes of inputs: expected fixed dimensions, got 'x' (batch, length, 8); "
        "'mask' (batch, 1, 8). Give for example --dim batch=1 --dim length=1 or --shape x=1x128x8."
    )
    assert refused(path, dims={"batch": 4}) == (
        "shapes of inputs: expected fixed dimensions, got 'x' (batch, length, 8). "
        "Give for example --dim length=1 or --shape x=4x128x8."
    )


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    path = two_inputs(tmp_path)
    assert refused(path, dims={"bathc": 4}) == (
        "dimension 'bathc': expected a symbolic dimension ('batch', 'length'), got an unknown name"
    )
    assert refused(path, shapes={"y": (1,)}) == (
        "shape of 'y': expected an input ('x', 'mask') or a tensor of the model, "
        "got an unknown name"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dims": {"batch": 0}}, "dimension 'batch': expected a whole number >= 1, got 0"),
        ({"dims": {"batch": True}}, "dimension 'batch': expected a whole number >= 1, got True"),
        ({"shapes": {"x": (2, -1, 8)}}, "shape of 'x': expected a whole number >= 1, got -1"),
        (
            {"shapes": {"x": (2, 8)}},
            "shape of 'x': expected 3 dimensions (batch, length, 8), got 2",
        ),
        (
            {"shapes": {"x": (2, 3, 8), "mask": (4, 1, 8)}},
            "shape of 'mask': dimension 'batch': expected 2, got 4",
        ),
        (
            {"shapes": {"x": (2, 3, 8)}, "dims": {"batch": 1}},
            "shape of 'x': dimension 'batch': expected 1, got 2",
        ),
        (
            {"dims": {"batch": 2, "length": 3}, "shapes": {"a": (2, 4, 8)}},
            "shape of 'a': expected (2, 3, 8), which is inferred, got (2, 4, 8)",
        ),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    assert refused(two_inputs(tmp_path), **given) == message


def test_inputs_of_unknown_rank(tmp_path: Path) -> None:
    path = save(make_model([op("y", "Relu", "x")], [info("x", None)]), tmp_path)
    assert refused(path) == (
        "shapes of inputs: expected fixed dimensions, got 'x' of unknown rank. "
        "Give for example --shape x=1x3x224x224."
    )
    assert read_onnx(path, shapes={"x": (2, 5)}).flops.tolist() == [10]


def test_nameless_dimensions(tmp_path: Path) -> None:
    given = helper.make_tensor_value_info("x", FLOAT, [None, 4])
    path = save(make_model([op("y", "Relu", "x")], [given]), tmp_path)
    assert "got 'x' (?, 4). Give for example --shape x=1x4." in refused(path)


def test_a_fixed_batch_may_be_changed_without_complaint(tmp_path: Path) -> None:
    nodes = [op("a", "Relu", "x"), op("b", "Relu", "a")]
    stale = [info("a", [1, 4]), info("b", [1, 4])]
    model = make_model(nodes, [info("x", [1, 4])], stale[1:], value_info=stale[:1])
    path = save(model, tmp_path)
    assert read_onnx(path, shapes={"x": (8, 4)}).flops.tolist() == [32, 32]
    model.graph.value_info[0].type.tensor_type.shape.dim[0].dim_value = 7
    with pytest.warns(StagewrightWarning) as caught:
        read_onnx(save(model, tmp_path))
    assert str(caught[0].message) == (
        f"{path}: declared shapes that contradict the inferred ones, ignored: 'a'"
    )


def test_unknown_operators_are_bytes_only(tmp_path: Path) -> None:
    nodes = [
        op("a", "Magic", "x", domain="local"),
        op("b", "Magic", "a", domain="local"),
        op("c", "Wand", "b", domain=""),
    ]
    model = make_model(nodes, [info("x", [2, 4])], value_info=[info("a", [2, 5]), info("b", [3])])
    path = save(model, tmp_path)
    with pytest.warns(StagewrightWarning) as caught:
        graph = read_onnx(path, shapes={"c": (1, 2)})
    (warning,) = caught
    assert str(warning.message) == (
        f"{path}: operators without a cost rule (bytes only): local.Magic x2, Wand"
    )
    assert graph.flops.tolist() == [0, 0, 0]
    assert graph.nbytes.tolist() == [32 + 40, 40 + 12, 12 + 8]
    assert graph.tensor_bytes.tolist() == [40, 12, 8]


def test_shapes_of_inner_tensors_may_be_given(tmp_path: Path) -> None:
    nodes = [
        op("r", "Relu", "x"),
        op("t", "Reshape", "r", "s"),
        op("y", "Relu", "t"),
    ]
    path = save(make_model(nodes, [info("x", [2, 4]), info("s", [3], INT64)]), tmp_path)
    assert refused(path) == (
        "shapes: expected every tensor's shape to follow from the inputs, "
        "got unknown ones: 't' (node 't', Reshape). "
        "Give the first, for example --shape t=1x128."
    )
    assert read_onnx(path, shapes={"t": (2, 2, 2)}).tensor_bytes.tolist() == [32, 32, 32]


def test_sizes_that_depend_on_the_data_are_at_their_largest(tmp_path: Path) -> None:
    nodes = [
        op("places", "NonZero", "x"),
        op("turned", "Transpose", "places"),
        op("unique", "Unique", "x"),
        op("twice", "Abs", "unique"),
    ]
    path = save(make_model(nodes, [info("x", [3, 4])]), tmp_path)
    with pytest.warns(StagewrightWarning, match="at their largest: NonZero, Unique$"):
        graph = read_onnx(path)
    assert graph.tensor_bytes.tolist() == [2 * 12 * 8, 2 * 12 * 8, 48, 48]


def test_boxes_that_are_kept(tmp_path: Path) -> None:
    node = op("kept", "NonMaxSuppression", "boxes", "scores", "limit")
    inputs = [info("boxes", [2, 100, 4]), info("scores", [2, 3, 100])]
    model = make_model([node, op("y", "Abs", "kept")], inputs, [], [constant("limit", [10])])
    with pytest.warns(StagewrightWarning, match="at their largest"):
        graph = read_onnx(save(model, tmp_path))
    assert graph.tensor_bytes.tolist() == [60 * 3 * 8] * 2
    assert graph.flops.tolist() == [12 * 60 * 100, 180]


def test_strings_and_optionals_have_no_size(tmp_path: Path) -> None:
    sequence = ValueInfoProto(
        name="s", type=helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [2]))
    )
    nodes = [
        op("a", "Identity", "t"),
        op("b", "StringNormalizer", "a"),
        op("c", "SequenceInsert", "s", "x"),
        op("d", "SequenceAt", "c", "i"),
    ]
    inputs = [info("t", [3], TensorProto.STRING), sequence, info("x", [2]), info("i", [], INT64)]
    with pytest.warns(StagewrightWarning, match="counted as 0 bytes: 'a', 'c'$"):
        graph = read_onnx(save(make_model(nodes, inputs), tmp_path))
    assert graph.tensor_bytes.tolist() == [0, 0, 8]  # b is unused


def test_left_out_inputs_and_outputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], "lstm", hidden_size=3),
        op("y", "Clip", "h", "", "top"),
    ]
    inputs = [info("x", [7, 2, 5]), info("w", [1, 12, 5]), info("r", [1, 12, 3]), info("top", [])]
    graph = read_onnx(save(make_model(nodes, inputs), tmp_path))
    assert graph.tensor_bytes.tolist() == [24, 24]
    assert graph.tensor_consumers.rows() == [[1], []]


def test_element_types_of_nodes(tmp_path: Path) -> None:
    nodes = [
        op("half", "Cast", "x", to=TensorProto.BFLOAT16),
        op("more", "Greater", "half", "half"),
        op("sure", "Not", "more"),
        op("picked", "ArgMax", "x"),
        op("ints", "Cast", "x", to=TensorProto.UINT8),
        op("product", "MatMulInteger", "ints", "ints"),
    ]
    graph = read_onnx(save(make_model(nodes, [info("x", [4, 4])]), tmp_path))
    assert graph.node_dtypes == ("bfloat16", "bfloat16", "bool", "float32", "float32", "int8")


@pytest.mark.parametrize("name", ["?", "-1", "None", "unknown", "*", "unk__12"])
def test_names_for_unknown_sizes_are_independent(tmp_path: Path, name: str) -> None:
    inputs = [info("x", [name, 3, name, name])]
    path = save(make_model([op("y", "Relu", "x")], inputs), tmp_path)
    assert read_onnx(path, shapes={"x": (1, 3, 48, 192)}).flops.tolist() == [3 * 48 * 192]


def test_a_name_for_unknown_sizes_cannot_be_fixed(tmp_path: Path) -> None:
    nodes = [op("a", "Relu", "x"), op("b", "Relu", "m"), op("y", "Add", "a", "b")]
    path = save(make_model(nodes, [info("x", ["?", 8]), info("m", ["unk__7", 8])]), tmp_path)
    assert "a symbolic dimension ('unk__7'), got an unknown name" in refused(path, dims={"?": 2})
    assert refused(path).startswith(
        "shapes of inputs: expected fixed dimensions, got 'x' (?, 8); 'm' (unk__7, 8). "
        "Give for example --dim unk__7=1 or --shape x=1x8."
    )
    graph = read_onnx(path, dims={"unk__7": 2}, shapes={"x": (2, 8)})
    assert graph.flops.tolist() == [16, 16, 16]
