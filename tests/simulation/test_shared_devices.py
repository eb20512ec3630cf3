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
from stagewright.simulation import Settings, Simulation, StageTimes, devices_of, simulate

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
