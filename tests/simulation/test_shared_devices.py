# SPDX-License-Identifier: Apache-2.0
"""Stages that share devices, in simulated time."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import CheckError, InputError
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.simulation import (
    Settings,
    Simulation,
    StageTimes,
    devices_of,
    simulate,
    simulate_plan,
)

CHAIN = [6, 1, 6, 1, 6, 4]


@pytest.mark.parametrize("seed", range(25))
def test_the_busiest_device_sets_the_period(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(1, 7)
    stages = [
        StageTimes(rng.randint(0, 5), rng.randint(1, 30), rng.randint(0, 5)) for _ in range(count)
    ]
    devices = tuple(rng.randrange(3) for _ in stages)
    for queue in (None, 1, 3):
        settings = Settings(items=200, queue=queue)
        found = Simulation(
            tuple(stages), settings, simulate(stages, settings, devices=devices), devices
        )
        loads = [
            sum(s.total for s, d in zip(stages, devices, strict=True) if d == e) for e in range(3)
        ]
        assert found.predicted == max(loads)
        assert len(found.timeline.left) == 200
        assert found.timeline.left[-1] >= 200 * found.predicted
        # While items enter; what is left then goes through emptier devices.
        assert found.period is not None
        assert abs(found.period / found.predicted - 1) < 0.005
        if queue is None:
            assert found.timeline.left[-1] <= 1.02 * 200 * found.predicted
        # A device never does two things at once.
        for device in set(devices):
            busy = sorted(
                (span.start, span.end)
                for span in found.timeline.spans
                if devices[span.stage] == device and span.what in ("receive", "work", "send")
            )
            assert all(a[1] <= b[0] for a, b in pairwise(busy))


def test_devices_of_their_own_change_nothing() -> None:
    stages = [StageTimes(1, 5, 2), StageTimes(2, 9, 1), StageTimes(1, 4, 0)]
    alone = simulate(stages, Settings(items=50))
    assert simulate(stages, Settings(items=50), devices=[2, 0, 1]).left == alone.left
    with pytest.raises(InputError, match="devices: expected one per stage, 3, got 1"):
        simulate(stages, Settings(items=5), devices=[0])


def test_a_plan_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = GraphBuilder("chain")
    for i, time in enumerate(CHAIN):
        builder.add_node(f"n{i}", work=time * 10**9)
        if i:
            builder.add_tensor(i - 1, [i], nbytes=0)
    fleet = Fleet((Kind("a", 2, Link(10**12)),), shared=True)
    path = tmp_path / "plan.json"
    sw.place(builder.build(), fleet, time_limit=20).save(path)
    assert main(["simulate", str(path), "--items", "400", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["predicted_period"] == 0.012
    assert found["makespan"] == pytest.approx(400 * 0.012, rel=0.02)
    assert "device" in found["stages"][0]["shares"]
    assert main(["simulate", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "times the busiest device's (12 ms)" in shown
    document = json.loads(path.read_text())
    document["stages"][0]["number"] = "x"
    with pytest.raises(CheckError, match=r"stages\[0\]\.number: expected the number of a device"):
        devices_of(document, "plan.json")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shared", [False, True])
def test_plans_with_overlap_have_their_period(seed: int, shared: bool) -> None:
    """A stage takes the longest of computing, receiving and sending, a shared device that of all its stages."""
    pick = random.Random(seed)
    builder = GraphBuilder("chain")
    nodes = [builder.add_node(f"n{i}", work=pick.randint(1, 30) * 10**6) for i in range(6)]
    for a, b in pairwise(nodes):
        builder.add_tensor(a, [b], nbytes=pick.randint(1, 20) * 1000)
    slow = tuple(2 * w for w in builder.build().work.tolist())
    kinds = (Kind("fast", 2, Link(10**9, 10)), Kind("slow", 1, Link(2 * 10**9), slow))
    result = sw.place(builder.build(), Fleet(kinds, overlap=True, shared=shared), time_limit=3)
    document = result.to_json()
    found = simulate_plan(document, "plan", Settings(items=300))
    assert found.predicted == result.solution.bottleneck
    assert found.period is not None
    assert abs(found.period / found.predicted - 1) < 0.01
    assert found.timeline.left[-1] >= 300 * found.predicted
    alone = sum(s.receive + s.work + s.send for s in found.stages)
    assert min(found.latencies()) >= alone
    engines = {(s.stage, s.what) for s in found.timeline.spans}
    assert {stage for stage, _ in engines} == set(range(len(document["stages"])))


@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_a_step_of_training(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step takes the sum of all stages and m - 1 times the longest, at most what the plan states."""
    builder = GraphBuilder("chain")
    nodes = [builder.add_node(f"n{i}", work=(4 + i % 3) * 10**6) for i in range(8)]
    for i, node in enumerate(nodes):
        builder.add_tensor(node, nodes[i + 1 : i + 2], nbytes=100)
        builder.add_param(10**4, [node])
    fleet = Fleet((Kind("a", 4, Link(10**9)),))
    schedule = {"name": name, "microbatches": 6, "replicas": 2}
    result = sw.place(builder.build(), fleet, mode="training", schedule=schedule, time_limit=5)
    document = result.to_json()
    found = simulate_plan(document, "plan", Settings(items=60, microbatches=6))
    assert found.predicted == result.solution.bottleneck  # sums of gradients included
    times = [stage.total for stage in found.stages]
    assert found.step == sum(times) + 5 * max(times)
    assert found.step <= document["training"]["step"] * 10**12
    result.save(tmp_path / "plan.json")
    assert main(["simulate", str(tmp_path / "plan.json")]) == 0
    shown = capsys.readouterr()
    assert "step of 6 microbatches" in shown.out
    assert "one visit" in shown.err
    assert main(["simulate", str(tmp_path / "plan.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["items"] == 100
    assert told["step"] == pytest.approx(float(found.step) / 1e12)
