# SPDX-License-Identifier: Apache-2.0
"""Reading the runtime's trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stagewright.cost.trace import read_trace
from stagewright.errors import RunError

US = 1_000_000


def run(begin: int, length: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": begin, "dur": length}


def kernel(name: str, begin: int, length: int) -> dict[str, Any]:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "ts": begin,
        "dur": length,
        "args": {"op_name": "Op"},
    }


def written(tmp_path: Path, events: object) -> Path:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(events), encoding="utf-8")
    return path


def test_last_runs_in_order(tmp_path: Path) -> None:
    events = [
        {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 9},
        run(40, 20),
        kernel("b", 45, 5),
        kernel("a", 41, 4),
        {"cat": "Node", "name": "a_fence_before", "ts": 40, "dur": 1},
        run(10, 20),
        kernel("a", 11, 7),
        kernel("b", 18, 2),
    ]
    runs = read_trace(written(tmp_path, events), runs=1)
    assert [(r.total, r.kernels) for r in runs] == [
        (20 * US, {("a", "Op", 0): 4 * US, ("b", "Op", 0): 5 * US})
    ]
    assert len(read_trace(written(tmp_path, events), runs=2)) == 2


def test_nodes_inside_a_body_belong_to_the_outer_one(tmp_path: Path) -> None:
    events = [
        run(0, 100),
        kernel("inner", 11, 3),
        kernel("inner", 14, 3),
        kernel("if", 10, 50),
        kernel("next", 60, 1),
    ]
    (found,) = read_trace(written(tmp_path, events), runs=1)
    assert found.kernels == {("if", "Op", 0): 50 * US, ("next", "Op", 0): 1 * US}


def test_nameless_nodes_are_told_apart(tmp_path: Path) -> None:
    events = [run(0, 10), kernel("Op_7", 1, 2), kernel("Op_9", 4, 3), kernel("Op_8", 3, 1)]
    for event in events[1:]:
        event["args"]["node_index"] = event["name"][3]
    events[1]["args"]["node_index"] = "6"  # so Op_7 is a name that a node really has
    (found,) = read_trace(written(tmp_path, events), runs=1)
    assert found.kernels == {
        ("Op_7", "Op", 0): 2 * US,
        ("", "Op", 0): 1 * US,
        ("", "Op", 1): 3 * US,
    }


def test_incomplete_runs_are_left_out(tmp_path: Path) -> None:
    events = [run(0, 10), kernel("a", 1, 2), kernel("b", 4, 2), run(20, 10), kernel("a", 21, 2)]
    with pytest.raises(RunError) as caught:
        read_trace(written(tmp_path, events), runs=2)
    assert str(caught.value) == (
        "The trace of onnxruntime holds 1 complete runs, 2 were made. "
        "Use fewer repetitions: it stops after a million kernels."
    )


@pytest.mark.parametrize("events", [[run(0, 10)], [], 3, [{"name": "model_run"}], [7]])
def test_damaged_traces(tmp_path: Path, events: object) -> None:
    with pytest.raises(RunError, match="The trace of onnxruntime"):
        read_trace(written(tmp_path, events), runs=1)
