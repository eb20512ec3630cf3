# SPDX-License-Identifier: Apache-2.0
"""From the predicted to the measured period, with runs whose times are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.splitting.helpers import by_names, cost_graph, split

from stagewright.cli import main
from stagewright.errors import InputError
from stagewright.runtime import RunHistory, RunReport, measure
from stagewright.runtime.report import Comparison, StageReport
from stagewright.simulation import explain, replayed_period
from stagewright.simulation.explain import _parts
from stagewright.splitting import split_onnx

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
m (float[64, 64] x) => (float[64, 64] y) { [a] p = MatMul(x, x) [b] y = MatMul(p, x) }"""


def history(works: list[list[float]], send: float = 0.0) -> RunHistory:
    """Stages that computed so long for each item; when does not matter."""
    rows: list[npt.NDArray[np.float64]] = []
    for times in works:
        table = np.zeros((len(times), 5))
        table[:, 2] = table[:, 3] = times
        table[:, 4] = table[:, 3] + send
        rows.append(table)
    hops = tuple((i, i + 1) for i in range(len(works) - 1))
    return RunHistory("x", ("a",) * len(works), 0, tuple(rows), hops)


def report(found: RunHistory, predicted: float | None, period: float | None) -> RunReport:
    nothing = Comparison(None, None, None, "")
    return RunReport(
        period,
        predicted,
        None,
        nothing,
        (),
        (),
        {},
        found.items,
        "process",
        1,
        2,
        2,
        0,
        history=found,
    )


def test_even_items_take_the_slowest_stage() -> None:
    found = history([[0.5] * 40, [0.75] * 40], send=0.25)
    assert replayed_period(found, 1) == pytest.approx(1.0)
    why = explain(report(found, predicted=0.9, period=1.1))
    assert (why.slowest, why.stages) == (1, 1.0)
    assert why.replayed == pytest.approx(1.0)
    assert [change for _, change in why.steps] == pytest.approx([0.1, 0.0, 0.1])
    assert why.predicted + sum(change for _, change in why.steps) == pytest.approx(why.measured)
    causes: dict[str, Any] = json.loads(json.dumps(why.to_json()))["causes"]
    assert list(causes) == [cause for cause, _ in why.steps]


def test_uneven_items_cost_more_than_the_slowest_stage() -> None:
    """Stages that are slow in turns wait for each other unless queues are long."""
    slow = [1.0 if i % 20 < 10 else 3.0 for i in range(400)]
    fast = [3.0 if i % 20 < 10 else 1.0 for i in range(400)]
    found = history([slow, fast])
    short, long = (np.mean(_intervals(found, depth)) for depth in (1, 400))
    assert long == pytest.approx(2.0, rel=0.05)
    assert short > 1.2 * long


def test_stages_of_one_worker_count_together() -> None:
    """Two stages on worker 0 that overlap by half, and one on worker 1: nobody's time is counted twice."""
    items = 60
    rows = []
    for begin, length in ((0.0, 2.0), (1.0, 2.0), (3.0, 1.0)):
        table = np.zeros((items, 5))
        start = 4.0 * np.arange(items) + begin
        table[:, 0], table[:, 1] = start, start
        table[:, 2] = table[:, 3] = table[:, 4] = start + length
        rows.append(table)
    found = RunHistory("x", ("a",) * 3, 0, tuple(rows), ((0, 1), (1, 2)))
    stages = tuple(StageReport("a", 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, w) for w in (0, 0, 1))
    why = explain(replace(report(found, predicted=2.5, period=4.0), stages=stages))
    # Worker 0 is busy from 0 to 3 of every 4 seconds; each stage has half of the second between.
    assert (why.slowest, why.shared) == (0, True)
    assert why.stages == pytest.approx(3.0)
    assert why.replayed == pytest.approx(3.0)
    alone = tuple(replace(stage, worker=w) for w, stage in enumerate(stages))
    other = explain(replace(report(found, predicted=2.5, period=4.0), stages=alone))
    assert (other.slowest, other.shared) == (0, False)
    assert other.stages == pytest.approx(2.0)


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_a_worker_add_up_to_when_it_was_busy(seed: int) -> None:
    pick = np.random.default_rng(seed)
    rows, items = [], 30
    for _ in range(3):
        steps = pick.integers(0, 5, (items, 5)).cumsum().reshape(items, 5).astype(np.float64)
        rows.append(steps)
    hops = ((0, 1), (1, 2))
    found = RunHistory("x", ("a",) * 3, 0, tuple(rows), hops)
    shares = _parts(found, [7, 7, 7])
    spans = [(r[a], r[a + 1]) for table in rows for r in table for a in (1, 3)]
    busy = sum(any(a <= t < b for a, b in spans) for t in range(int(max(b for _, b in spans))))
    assert sum(part.sum() for part in shares) == pytest.approx(busy)
    for table, part in zip(rows, shares, strict=True):
        assert (part[:, 0] <= table[:, 2] - table[:, 1] + 1e-9).all()


def _intervals(found: RunHistory, depth: int) -> list[float]:
    from stagewright.simulation import Settings, StageTimes, simulate

    replay = [
        [StageTimes(0, round(t * 1e12), 0) for t in (rows[:, 2] - rows[:, 1]).tolist()]
        for rows in found.rows
    ]
    settings = Settings(items=found.items, queue=depth, held=True)
    left = simulate([r[0] for r in replay], settings, hops=found.hops, replay=replay).left
    return [float(x) for x in np.diff(np.array(left) / 1e12)]


def test_what_cannot_be_explained() -> None:
    found = history([[1.0] * 40])
    with pytest.raises(InputError, match="a predicted period, got none"):
        explain(report(found, None, 1.0))
    with pytest.raises(InputError, match="a measured period, got too few items"):
        explain(report(found, 1.0, None))
    with pytest.raises(InputError, match="a steady stretch, got 1 items"):
        explain(report(history([[1.0]]), 1.0, 1.0))


def test_a_run_explains_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    path, folder, _ = split(MODEL, tmp_path, ["a"], ["b"])
    graph = cost_graph(onnx.load(path))
    parts = {"total": 0.25, "work": 0.125}
    document = {"bottleneck": 0.25, "stages": [parts, parts]}
    plan = by_names(graph, ["a"], ["b"])
    split_onnx(path, graph, plan, folder, document=document, overwrite=True)
    found = measure(folder, items=40, engine="thread")
    why = explain(found)
    assert why.predicted == 0.25
    assert why.stages > 0
    assert why.replayed > 0
    run = ["run", str(folder), "--items", "40", "--engine", "thread", "--explain"]
    assert main([*run, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    causes = content["explanation"]["causes"]
    assert sum(causes.values()) == pytest.approx(content["period"] - 0.25)
    assert main(run) == 0
    shown = capsys.readouterr().out
    assert "predicted period" in shown
    assert "handing over and the caller" in shown
    split_onnx(path, graph, plan, folder, document=None, overwrite=True)
    assert main([*run, "--json"]) == 0  # the report is there all the same
    captured = capsys.readouterr()
    assert json.loads(captured.out)["explanation"] is None
    assert "a predicted period, got none" in captured.err
