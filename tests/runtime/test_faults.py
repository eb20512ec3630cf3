# SPDX-License-Identifier: Apache-2.0
"""Stages that raise, die and stall: who hears of it, and what goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.helpers import (
    ENGINES,
    FAULTY,
    FOREVER,
    SKIP,
    SLOW,
    inside,
    item,
    nothing_is_left,
    slow,
)
from tests.splitting.helpers import split

from stagewright.errors import InputError, RunError
from stagewright.runtime import Pipeline

__all__ = ["nothing_is_left"]

THREE = ["a"], ["b", "c"], ["d"]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_item_that_raises_fails_alone(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(FAULTY, tmp_path, ["a"], ["b"], ["c"])
    x = np.zeros(3, np.float32)
    bad = {3, 4, 20}
    feeds = ({"x": x + i, "i": np.array([9 * (i in bad)])} for i in range(30))
    with Pipeline(folder, engine=engine) as pipeline:
        got = list(pipeline.map(feeds, on_error="yield"))
        assert len(got) == 30
        for i, outputs in enumerate(got):
            if i in bad:
                assert isinstance(outputs, RunError)
                assert str(outputs).startswith("stage 1 failed: ")
                assert "indices element out of data bounds" in str(outputs)
            else:
                assert outputs["y"] == pytest.approx(np.exp(i))
        assert pipeline.faults == ()
        with pytest.raises(InputError, match="on_error: expected 'raise' or 'yield', got 'skip'"):
            list(pipeline.map([], on_error="skip"))  # type: ignore[arg-type]


def test_without_restart_all_inside_hear_at_once_and_the_pipeline_is_down(tmp_path: Path) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    with Pipeline(folder) as pipeline:
        futures = [pipeline.submit(slow(FOREVER, i)) for i in range(3)]
        _wait_until_computing(pipeline, 1)
        os.kill(inside(pipeline).processes[1], signal.SIGKILL)
        for future in futures:
            with pytest.raises(RunError, match=r"^stage 1 died: killed by SIGKILL$"):
                future.result(timeout=5)
        with pytest.raises(RunError, match=r"^stage 1 died: killed by SIGKILL$"):
            pipeline.submit(slow(1))
        with pytest.raises(RunError, match="stage 1 died"):
            list(pipeline.map([slow(1)]))


@pytest.mark.parametrize("depth", [1, 2])
def test_workers_killed_under_load_cost_no_item(tmp_path: Path, depth: int) -> None:
    _killed_at_random(tmp_path, kills=4, seed=depth, depth=depth)


@pytest.mark.slow
def test_workers_killed_fifty_times_cost_no_item(tmp_path: Path) -> None:
    _killed_at_random(tmp_path, kills=50, seed=7, depth=2)


def _killed_at_random(tmp_path: Path, kills: int, seed: int, depth: int) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    rng = random.Random(seed)
    # Kills may come faster than a stage can start.
    with Pipeline(folder, restart=kills, depth=depth) as pipeline:
        stop = threading.Event()

        def items() -> Iterator[dict[str, Any]]:
            for i in itertools.count():
                if stop.is_set():
                    return
                yield item(i)

        def kill() -> None:
            try:
                for _ in range(kills):
                    # Sometimes amid a restart; then the process may be gone already.
                    time.sleep(rng.uniform(0, 0.6))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(rng.choice(inside(pipeline).processes), signal.SIGKILL)
                time.sleep(0.3)
            finally:
                stop.set()

        killer = threading.Thread(target=kill)
        killer.start()
        count = 0
        for i, got in enumerate(pipeline.map(items())):
            assert got["p"].tolist() == np.maximum(item(i)["x"], 0).tolist()
            count += 1
        killer.join()
        assert count > 10
        assert 1 <= len(pipeline.faults) <= kills
        assert all(f.endswith("died: killed by SIGKILL") for f in pipeline.faults)
        assert pipeline.run(item(5))["p"][0, 0] == 5


def test_kills_without_restart_end_every_pipeline_with_news(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    rng = random.Random(3)
    for _ in range(3):
        with Pipeline(folder, depth=1) as pipeline:
            victim = rng.randrange(3)
            timer = threading.Timer(
                rng.uniform(0, 0.1), os.kill, (inside(pipeline).processes[victim], signal.SIGKILL)
            )
            timer.start()
            got: list[Any] = []
            with pytest.raises(RunError, match=f"^stage {victim} died: killed by SIGKILL$"):
                got.extend(pipeline.map(item(i) for i in itertools.count()))
            timer.join()


def test_an_item_that_kills_its_stage_fails_and_the_others_do_not(tmp_path: Path) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    with Pipeline(folder, restart=1, stall_after=0.4) as pipeline:
        items = [slow(FOREVER if i == 4 else 3, i) for i in range(9)]
        got = list(pipeline.map(items, on_error="yield"))
        assert str(got[4]) == (
            "stage 1 stalled: an item computed for more than 0.4 s, 2 times with the same item"
        )
        assert [g["y"][0, 0] for i, g in enumerate(got) if i != 4] == [
            0,
            -1,
            -2,
            -3,
            -5,
            -6,
            -7,
            -8,
        ]
        assert len(pipeline.faults) == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stall_is_told(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    with Pipeline(folder, engine=engine, stall_after=0.3) as pipeline:
        assert pipeline.run(slow(3, 2))["y"][0, 0] == -2
        with pytest.raises(
            RunError, match=r"^stage 1 stalled: an item computed for more than 0.3 s$"
        ):
            pipeline.run(slow(FOREVER))
        if engine == "thread":  # the computation could be ended, so only its item failed
            assert pipeline.run(slow(3, 2))["y"][0, 0] == -2


@pytest.mark.parametrize("victim", [0, 2])
def test_a_stopped_worker_counts_as_stalled_and_is_replaced(tmp_path: Path, victim: int) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    with Pipeline(folder, restart=1, stall_after=0.4) as pipeline:
        pipeline.run(item(1))
        os.kill(inside(pipeline).processes[victim], signal.SIGSTOP)
        got = [g["p"][0, 0] for g in pipeline.map(item(i) for i in range(20))]
        assert got == list(range(20))
        (fault,) = pipeline.faults
        # Most often it was waiting, but it may have been about to note that it had handed on.
        assert fault.startswith(f"stage {victim} stalled: an item ")
        assert fault.endswith(" for more than 0.4 s")


def test_a_slow_consumer_and_a_slow_stage_are_no_stall(tmp_path: Path) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    with Pipeline(folder, depth=1, stall_after=0.3) as pipeline:
        taken = []

        def items() -> Iterator[dict[str, Any]]:
            for i in range(40):
                taken.append(i)
                yield slow(1, i)

        results = pipeline.map(items())
        next(results)
        time.sleep(0.8)
        # Nothing runs ahead of a consumer that waits by more than the pipeline holds.
        assert len(taken) <= 12
        assert len(list(results)) == 39


def test_a_stage_that_cannot_start_again_ends_the_pipeline(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    with Pipeline(folder, restart=2) as pipeline:
        pipeline.run(item(0))
        (folder / "stage1.onnx").write_bytes(b"\xff" * 10)
        os.kill(inside(pipeline).processes[1], signal.SIGKILL)
        with pytest.raises(RunError, match="stage 1 failed: "):
            pipeline.run(item(1))
        with pytest.raises(RunError, match="stage 1 failed: "):
            pipeline.run(item(1))


@pytest.mark.parametrize("alive", [True, False])
def test_a_spare_worker_stands_in_unless_it_is_gone_itself(tmp_path: Path, alive: bool) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    with Pipeline(folder) as pipeline:
        assert inside(pipeline)._spare is None
    with Pipeline(folder, restart=1) as pipeline:
        engine = inside(pipeline)
        pipeline.run(item(0))
        spare, workers = engine._spare.process.pid, list(engine.processes)
        if not alive:
            os.kill(spare, signal.SIGKILL)
            engine._spare.process.wait()
        os.kill(workers[1], signal.SIGKILL)
        for i in range(20):
            assert (pipeline.run(item(i))["p"] == np.maximum(item(i)["x"], 0)).all()
        assert engine.processes[::2] == workers[::2]
        assert (engine.processes[1] == spare) == alive
        assert engine._spare.process.pid not in (spare, *engine.processes)
        assert pipeline.faults == ("stage 1 died: killed by SIGKILL",)


def test_closing_amid_a_restart_waits_for_nobody(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    pipeline = Pipeline(folder, restart=1)
    pipeline.run(item(0))
    os.kill(inside(pipeline).processes[1], signal.SIGKILL)
    future = pipeline.submit(item(1))
    pipeline.close()
    assert future.done()


def _wait_until_computing(pipeline: Pipeline, stage: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        taken, computed, _ = inside(pipeline).times[stage].counts
        if taken > computed:
            return
        time.sleep(0.01)
    raise AssertionError("the stage never began")
