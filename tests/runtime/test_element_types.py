# SPDX-License-Identifier: Apache-2.0
"""Tensors of types that numpy has not cross between stages bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from tests.runtime.helpers import ENGINES, nothing_is_left
from tests.splitting.helpers import run_whole, split

from stagewright.errors import InputError
from stagewright.runtime import Pipeline
from stagewright.runtime.element_types import element_of
from stagewright.runtime.inputs import random_inputs
from stagewright.splitting import TensorType

__all__ = ["nothing_is_left"]

OTHERS = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8e5m2": ml_dtypes.float8_e5m2,
    "float8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "int4": ml_dtypes.int4,
    "uint4": ml_dtypes.uint4,
}
VALUES = np.array([[0, 1, -1.5, 2, 3], [-4, 5.3, 6, 7, 0.1], [1, -8, 3, 4, 5]], np.float32)


def casts(kind: str, *, given: bool = False, shape: tuple[Any, ...] = (3, 5)) -> onnx.ModelProto:
    """float -> kind | kind -> float; with `given` the input and one output are of the kind, too."""
    number = onnx.TensorProto.DataType.Value(kind.upper())
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], name="in", to=onnx.TensorProto.FLOAT),
        helper.make_node("Identity", ["f"], ["g"], name="keep"),
        helper.make_node("Cast", ["g"], ["q"], name="out", to=number),
        helper.make_node("Cast", ["q"], ["y"], name="back", to=onnx.TensorProto.FLOAT),
    ]
    info = helper.make_tensor_value_info
    outputs = [info("y", onnx.TensorProto.FLOAT, shape)]
    if given:
        outputs.append(info("q", number, shape))
    graph = helper.make_graph(
        nodes,
        "casts",
        [info("x", number if given else onnx.TensorProto.FLOAT, shape)],
        outputs,
        value_info=[info("q", number, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("kind", OTHERS)
def test_they_cross_between_threads(tmp_path: Path, kind: str) -> None:
    path, folder, manifest = split(casts(kind), tmp_path, ["in", "keep", "out"], ["back"])
    assert [t.type for t in manifest.stages[1].inputs] == [f"tensor({kind})"]
    with Pipeline(folder, engine="thread") as pipeline:
        got = pipeline.run({"x": VALUES})["y"]
    np.testing.assert_array_equal(got, run_whole(path, {"x": VALUES})["y"])


@pytest.mark.parametrize("kind", ["bfloat16", "float8e4m3fn", "int4"])
def test_they_enter_cross_between_processes_and_leave(tmp_path: Path, kind: str) -> None:
    _, folder, _ = split(casts(kind, given=True), tmp_path, ["in", "keep", "out"], ["back"])
    rows = [np.roll(VALUES, i, axis=1).astype(OTHERS[kind]) for i in range(5)]
    with Pipeline(folder, depth=1) as pipeline:
        for got, row in zip(pipeline.map({"x": row} for row in rows), rows, strict=True):
            assert got["q"].dtype == OTHERS[kind]
            assert got["q"].tolist() == row.tolist()
            assert got["y"].tolist() == row.astype(np.float32).tolist()
        with pytest.raises(
            InputError, match=r"input 'x': expected elements of type \w+, got float32"
        ):
            pipeline.run({"x": VALUES})


def test_sizes_that_are_not_fixed(tmp_path: Path) -> None:
    model = casts("bfloat16", given=True, shape=("N", 5))
    _, folder, _ = split(model, tmp_path, ["in", "keep", "out"], ["back"])
    with Pipeline(folder) as pipeline:
        for rows in (1, 3, 0):
            x = VALUES[:rows].astype(ml_dtypes.bfloat16)
            assert pipeline.run({"x": x})["q"].tolist() == x.tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_packed_ones_need_a_fixed_size(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(casts("int4", shape=("N", 5)), tmp_path, ["in", "keep", "out"], ["back"])
    with pytest.raises(InputError) as caught:
        Pipeline(folder, engine=engine)
    assert str(caught.value) == (
        "tensor 'q': expected a fixed shape, since it is of tensor(int4) and crosses between stages, "
        "got sizes that are not known. Split with --shape or --dim, or cut the model where another "
        "tensor crosses."
    )


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (3, 5), (7,)])
def test_packing_is_undone(kind: str, shape: tuple[int, ...]) -> None:
    element = element_of(f"tensor({kind})")
    assert element is not None
    values = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    if element.packed:
        values &= (1 << element.bits) - 1
    array = values.astype(np.float32).astype(OTHERS[kind])
    stored = element.store(array)
    assert stored.shape == element.stored_shape(shape)
    assert stored.nbytes == element.nbytes(shape)
    again = element.load(stored, shape)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again.astype(np.float32), array.astype(np.float32))


def test_random_inputs_of_all_types() -> None:
    types = [TensorType(kind, f"tensor({kind})", (4,), None) for kind in OTHERS]
    made = random_inputs(types, 1)
    assert {name: value.dtype.type for name, value in made.items()} == OTHERS
    assert set(made["int4"].astype(int).tolist()) <= {0, 1}
