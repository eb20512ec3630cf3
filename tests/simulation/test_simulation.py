# SPDX-License-Identifier: Apache-2.0
"""The simulation against recurrences written down separately, and its trace."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import InputError
from stagewright.graph import GraphBuilder
from stagewright.simulation import (
    Settings,
    Simulation,
    StageTimes,
    simulate,
    stage_times,
)


def random_stages(seed: int) -> list[StageTimes]:
    draw = random.Random(seed)
    return [
        StageTimes(draw.choice([0, draw.randint(0, 40)]), draw.randint(0, 100), draw.randint(0, 40))
        for _ in range(draw.randint(1, 4))
    ]


def departures(stages: list[StageTimes], items: int, queue: int | None) -> list[int]:
    """When items leave: blocking before sending, item i of stage s at a time.

    A stage takes an item when it has sent the one before and the stage before has sent this one; it
    sends when the next stage has taken the item that is `queue` places ahead.
    """
    take = [[0] * items for _ in stages]
    sent = [[0] * items for _ in stages]
    for i in range(items):
        for s, stage in enumerate(stages):
            take[s][i] = max(sent[s][i - 1] if i else 0, sent[s - 1][i] if s else 0)
            ready = take[s][i] + stage.receive + stage.work
            if s + 1 < len(stages) and queue is not None and i >= queue:
                ready = max(ready, take[s + 1][i - queue])
            sent[s][i] = ready + stage.send
    return sent[-1]


@pytest.mark.parametrize("seed", range(60))
def test_departures_are_those_of_the_recurrence(seed: int) -> None:
    stages = random_stages(seed)
    queue = [None, 1, 2, 5][seed % 4]
    found = simulate(stages, Settings(items=30, queue=queue))
    assert list(found.left) == departures(stages, 30, queue)
    slowest = max(stage.total for stage in stages)
    assert Simulation(tuple(stages), Settings(items=30, queue=queue), found).period == slowest
    if queue is not None:
        assert max(found.longest) <= queue


@pytest.mark.parametrize("seed", range(30))
def test_spans_fill_the_time_of_each_stage(seed: int) -> None:
    stages = random_stages(seed)
    settings = Settings(
        items=20, queue=1 + seed % 3, shared_link=seed % 2 == 1, jitter=0.3, seed=seed
    )
    found = simulate(stages, settings)
    for s in range(len(stages)):
        spans = sorted((x for x in found.spans if x.stage == s), key=lambda x: x.start)
        assert all(x.end > x.start for x in spans)
        # Whatever a stage does or waits for follows at once on what it did before.
        assert spans == [] or spans[0].start == 0
        assert all(a.end == b.start for a, b in pairwise(spans))
    if settings.shared_link:
        wire = sorted((x.start, x.end) for x in found.spans if x.what in ("receive", "send"))
        assert all(a[1] <= b[0] for a, b in pairwise(wire))


def test_a_shared_link_by_hand() -> None:
    stages = [StageTimes(0, 10, 4), StageTimes(4, 10, 0)]
    alone = simulate(stages, Settings(items=40))
    assert Simulation(tuple(stages), Settings(items=40), alone).period == 14
    shared = [StageTimes(0, 2, 10), StageTimes(10, 2, 0)]
    settings = Settings(items=40, shared_link=True)
    found = Simulation(tuple(shared), settings, simulate(shared, settings))
    assert found.period == 20  # the link carries each item twice
    assert found.predicted == 12
    first = simulate(shared, replace(settings, items=2)).left
    # 0-2 work, 2-12 send 0, 12-22 receive 0 (asked at 12, before the second send at 14), 22-32 send 1, ...
    assert first == (24, 44)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("group", [1, 4, 8])
def test_microbatches_fill_and_drain(count: int, group: int) -> None:
    stages = [StageTimes(1, 7, 2)] * count
    found = simulate(stages, Settings(items=3 * group, microbatches=group, queue=1))
    assert found.left[-1] == 3 * (group + count - 1) * 10


def test_jitter_slows_and_longer_queues_help() -> None:
    stages = [StageTimes(0, 10**6, 0)] * 4
    periods = []
    for queue in (1, 4, None):
        settings = Settings(items=2000, jitter=0.5, queue=queue, seed=3)
        found = Simulation(tuple(stages), settings, simulate(stages, settings))
        assert found.period is not None
        periods.append(found.period)
    assert periods[0] > periods[1] > 10**6
    assert periods[1] >= periods[2]


def test_jitter_keeps_mean_and_deviation() -> None:
    settings = Settings(items=20_000, jitter=0.25)
    found = simulate([StageTimes(0, 10**9, 0)], settings)
    times = [(x.end - x.start) / 10**9 for x in found.spans]
    mean = sum(times) / len(times)
    spread = (sum((t - mean) ** 2 for t in times) / len(times)) ** 0.5
    assert mean == pytest.approx(1, abs=0.01)
    assert spread == pytest.approx(0.25, abs=0.01)


def test_a_seed_decides_everything() -> None:
    stages, settings = random_stages(5), Settings(items=50, jitter=0.2, queue=2, seed=1)
    assert simulate(stages, settings) == simulate(stages, settings)
    assert simulate(stages, settings) != simulate(stages, replace(settings, seed=2))


def test_wrong_settings() -> None:
    with pytest.raises(InputError, match="items: expected a whole number >= 1, got 0"):
        Settings(items=0)
    with pytest.raises(InputError, match="queue: expected a whole number"):
        Settings(queue=0)
    with pytest.raises(InputError, match="microbatches: expected a whole number"):
        Settings(microbatches=-1)
    with pytest.raises(InputError, match="jitter"):
        Settings(jitter=-0.1)
    with pytest.raises(InputError, match="at most 833333 for 1"):
        simulate([StageTimes(0, 1, 0)], Settings(items=10**6))


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    builder = GraphBuilder("chain")
    for v in range(6):
        builder.add_node(f"v{v}", work=10**9 * (v + 1))
    for v in range(5):
        builder.add_tensor(v, [v + 1], nbytes=1000 + v)
    path = tmp_path / "plan.json"
    sw.plan(builder.build(), 3, bandwidth="1GB/s", latency="1ps").save(path)
    return path


def test_the_period_of_a_plan_is_its_bottleneck(
    plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(plan_file), "--json", "--queue", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    plan = json.loads(plan_file.read_text())
    assert found["period"] == found["predicted_period"] == plan["bottleneck"]
    assert found["ratio"] == 1
    assert [s["total"] for s in found["stages"]] == [s["total"] for s in plan["stages"]]


def test_trace_file(plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    command = ["simulate", str(plan_file), "--items", "5", "--jitter", "5%", "--trace", str(path)]
    assert main(command) == 0
    assert "times the slowest stage's" in capsys.readouterr().out
    events = json.loads(path.read_text(), parse_float=Decimal)["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names == {1: "stage 0", 2: "stage 1", 3: "stage 2"}
    work = [e for e in events if e["ph"] == "X" and e["cat"] == "busy"]
    flows = [e for e in events if e["ph"] in "sf"]
    arrows = [(e["ph"], e["tid"]) for e in flows if e["args"] == {"item": 2}]
    assert arrows == [("s", 1), ("f", 2), ("s", 2), ("f", 3)]
    for flow in flows:  # viewers tie an arrow to the slice of its track that is running then
        inside = [
            e
            for e in work
            if e["tid"] == flow["tid"] and e["ts"] <= flow["ts"] < e["ts"] + e["dur"]
        ]
        assert [e["args"]["item"] for e in inside] == [flow["args"]["item"]]
    assert {e["tid"] for e in work if e["name"] == "work"} == {1, 2, 3}


def test_measured_times(
    plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"compute": t, "send": 0.001} for t in (0.002, 0.005, 0.001)]
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"stages": rows, "period": 0.007}))
    assert main(["simulate", str(plan_file), "--run", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["period"], found["measured_period"]) == (0.006, 0.007)
    run.write_text(json.dumps({"stages": rows[:2], "period": 0.007}))
    assert main(["simulate", str(plan_file), "--run", str(run)]) == 2
    assert "as many as the plan has, 3" in capsys.readouterr().err
    assert main(["simulate", str(plan_file), "--jitter", "some"]) == 2
    assert "a percentage such as 5%" in capsys.readouterr().err


def test_overflow_is_received() -> None:
    stage = {"work": 1, "io_in": 2, "io_out": 3, "overflow": 4}
    (times,) = stage_times({"stages": [stage]}, "plan")
    assert (times.receive, times.work, times.send) == (6 * 10**12, 10**12, 3 * 10**12)
    settings = Settings(items=1)
    only = Simulation((times,), settings, simulate([times], settings))
    assert only.period is None
    assert json.loads(only.trace("x").text())["traceEvents"]
    with pytest.raises(InputError, match="docs/plan_file"):
        stage_times({"stages": [{}]}, "plan")
