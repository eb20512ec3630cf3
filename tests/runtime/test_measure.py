# SPDX-License-Identifier: Apache-2.0
"""What a measured run reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.splitting.helpers import by_names, cost_graph, split

from stagewright.errors import InputError
from stagewright.runtime import measure, run_directory
from stagewright.runtime.inputs import random_inputs
from stagewright.runtime.measure import _difference
from stagewright.runtime.stats import enough_items, steady_intervals
from stagewright.splitting import TensorType, split_onnx

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
m (float[N, 3] x, int64[N] i, bool[1] b) => (float[N, 3] y, int64[N] j, bool[1] c) {
    [a] p = Relu(x)
    [k] j = Abs(i)
    [n] c = Not(b)
    [d] y = Exp(p)
}"""
STAGES = ["a", "k"], ["n", "d"]


def test_the_report_holds_prediction_comparison_and_whole_model(tmp_path: Path) -> None:
    path, folder, _ = split(MODEL, tmp_path, *STAGES)
    graph = cost_graph(onnx.load(path))
    parts = {"total": 0.25, "work": 0.125}
    document = {"bottleneck": 0.25, "stages": [parts, parts]}
    plan = by_names(graph, *STAGES)
    split_onnx(path, graph, plan, folder, document=document, overwrite=True)
    report = measure(folder, items=24, dims={"N": 4})
    data = json.loads(json.dumps(report.to_json()))
    assert list(data)[:5] == [
        "period",
        "predicted_period",
        "throughput",
        "outputs_equal",
        "stages",
    ]
    assert data["outputs_equal"] is True
    assert data["comparison"] == {"equal": True, "max_abs": 0.0, "max_rel": 0.0, "reason": ""}
    assert data["predicted_period"] == 0.25
    assert [s["predicted"] for s in data["stages"]] == [0.25, 0.25]
    assert [w["threads"] for w in data["whole"]] == [2, 1]
    assert 0 < data["period"] < 1
    assert data["throughput"] > 1


def test_a_moved_model_is_not_compared_and_can_be_given(tmp_path: Path) -> None:
    path, folder, _ = split(MODEL, tmp_path, *STAGES)
    moved = path.rename(tmp_path / "moved.onnx")
    report = run_directory(folder, batches=8, engine="thread")
    assert report.outputs_equal is None
    assert report.comparison.reason == f"not compared: no file at '{path}'; give --model"
    assert report.whole == ()
    assert run_directory(folder, batches=8, engine="thread", model=moved).outputs_equal
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other")
    with pytest.raises(InputError, match="the model that was split, got another model"):
        run_directory(folder, model=other)


def test_node_names_used_twice_are_told_apart_in_the_stages(tmp_path: Path) -> None:
    """Newer runtimes refuse such a model, but its stages run and the report says what is missing."""
    model = """<ir_version: 8, opset_import: ["" : 17]>
    m (float[2, 3] x) => (float[2, 3] y) { [n] p = Relu(x) [n] q = Exp(p) [n] y = Neg(q) }"""
    _, folder, _ = split(model, tmp_path, ["Relu:p", "Exp:q"], ["Neg:y"])
    report = measure(folder, items=10)
    assert report.comparison.equal is not False
    if report.comparison.equal is None:
        start = "not compared: onnxruntime does not load the unsplit model: "
        assert report.comparison.reason.startswith(start)
        assert report.whole == ()
    stages = [onnx.load(folder / f"stage{i}.onnx") for i in range(2)]
    names = [[node.name for node in stage.graph.node] for stage in stages]
    assert names == [["Relu:p", "Exp:q"], ["Neg:y"]]
    assert report.throughput


def test_a_stage_that_computes_something_else_is_found_out(tmp_path: Path) -> None:
    import onnx

    _, folder, _ = split(MODEL, tmp_path, *STAGES)
    stage = onnx.load(folder / "stage1.onnx")
    stage.graph.node[-1].op_type = "Tanh"
    onnx.save(stage, folder / "stage1.onnx")
    report = run_directory(folder, batches=8, engine="thread")
    assert report.outputs_equal is False
    assert report.comparison.max_abs is not None
    assert report.comparison.max_abs > 0.1


def test_random_inputs_are_seeded_and_small() -> None:
    types = [
        TensorType("f", "tensor(float16)", (2, "N"), None),
        TensorType("i", "tensor(int64)", (50,), 400),
        TensorType("b", "tensor(bool)", (50,), 50),
        TensorType("s", "tensor(double)", (), 8),
    ]
    first, again = random_inputs(types, 3, {"N": 5}), random_inputs(types, 3, {"N": 5})
    assert {n: (v.dtype.name, v.shape) for n, v in first.items()} == {
        "f": ("float16", (2, 5)),
        "i": ("int64", (50,)),
        "b": ("bool", (50,)),
        "s": ("float64", ()),
    }
    assert set(first["i"].tolist()) == {0, 1}
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    with pytest.raises(InputError, match="Use Pipeline and give the inputs"):
        random_inputs([TensorType("q", "seq(tensor(float))", None, None)], 0)


@pytest.mark.parametrize(
    ("got", "expected", "answer"),
    [
        (np.ones(2), np.ones(2), (True, 0.0, 0.0)),
        (np.ones(2), np.ones(3), (False, np.inf, np.inf)),
        (np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), (True, 0.0, 0.0)),
        (np.array([np.nan, 1.0]), np.array([2.0, 1.0]), (False, np.inf, np.inf)),
        (np.array([1.5]), np.array([1.0]), (False, 0.5, 0.5)),
        ([np.ones(1)], [np.ones(1)], (True, 0.0, 0.0)),
        ([np.ones(1)], [], (False, np.inf, np.inf)),
        (np.array(["a"], object), np.array(["b"], object), (False, 0.0, 0.0)),
    ],
)
def test_differences(got: Any, expected: Any, answer: tuple[bool, float, float]) -> None:
    assert _difference(got, expected) == answer


def test_the_start_and_the_end_of_a_stream_do_not_count() -> None:
    completed = [0.0, 5.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 40.0, 50.0]
    assert steady_intervals(completed, 2).tolist() == [1.0] * 6
    assert steady_intervals([], 2).tolist() == []
    assert steady_intervals([1.0], 2).tolist() == []


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_too_few_items_have_no_pace(stages: int) -> None:
    """A burst of results that had piled up is no steady stream."""
    enough = enough_items(stages)
    burst = [1.0 + i * 1e-6 for i in range(enough)]
    assert steady_intervals(burst[:-1], stages).tolist() == []
    assert len(steady_intervals(burst, stages)) == 4


def test_a_run_of_few_items_makes_no_claim(tmp_path: Path) -> None:
    _, folder, _ = split(MODEL, tmp_path, *STAGES)
    report = measure(folder, items=5, engine="thread")
    assert report.period is None
    assert report.throughput is None
    assert [w.speedup for w in report.whole] == [None, None]
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["faults"] == []
    assert all(w["period"] > 0 for w in data["whole"])
    # One round of ten rather than four of three.
    assert measure(folder, items=10, engine="thread").period is not None
