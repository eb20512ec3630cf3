# SPDX-License-Identifier: Apache-2.0
"""Pipelines of tiny models: values, order, faults, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.helpers import (
    ENGINES,
    FAULTY,
    HEAD,
    SKIP,
    inside,
    item,
    nothing_is_left,
    runs,
    still_run,
)
from tests.splitting.helpers import assert_same, run_whole, split

from stagewright.errors import InputError, RunError
from stagewright.runtime import Pipeline

__all__ = ["nothing_is_left"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("depth", [1, 2])
def test_outputs_are_the_models_in_order(tmp_path: Path, engine: Any, depth: int) -> None:
    path, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    with Pipeline(folder, engine=engine, depth=depth) as pipeline:
        assert_same(pipeline.run(item(5)), run_whole(path, item(5)))
        results = list(pipeline.map(item(i) for i in range(50)))
        assert len(results) == 50
        for i, got in enumerate(results):
            assert_same(got, run_whole(path, item(i)))
        assert list(pipeline.map([])) == []
        stats = pipeline.stats()
    assert len(stats.stages) == 3
    assert all(s.compute is not None and s.compute > 0 for s in stats.stages)


def test_times_describe_the_last_map(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a", "b"], ["c", "d"])
    with Pipeline(folder) as pipeline:
        list(pipeline.map(item(i) for i in range(20)))
        stats = pipeline.stats()
    assert stats.items == 20
    assert stats.period is not None
    assert stats.throughput is not None
    assert 0 < stats.latency["p50"] <= stats.latency["p99"]
    assert pipeline.stats().latency == stats.latency
    assert set(stats.to_json()) == {"stages", "items", "period", "throughput", "latency"}


def test_strings_sequences_and_unknown_sizes_pass(tmp_path: Path) -> None:
    model = f"""{HEAD} odd (float[N, 1] x, string[M] s) => (float[N, 1] y, string[M] t, float[K] k) {{
        [a] q = SplitToSequence<axis = 0>(x)
        [i] t = Identity(s)
        [n] nz = NonZero(x)
        [b] y = ConcatFromSequence<axis = 0>(q)
        [f] f = Cast<to = 1>(nz)
        [m] k = ReduceSum<keepdims = 0>(f, axis)
        [z] axis = Constant<value_ints = [0]>()
    }}"""
    model = model.replace("[z] axis = Constant<value_ints = [0]>()\n", "").replace(
        "[a] q", "[z] axis = Constant<value_ints = [0]>()\n        [a] q"
    )
    stages = ["a", "i", "n"], ["b", "f", "m"]
    path, folder, _ = split(model, tmp_path, *stages)
    with Pipeline(folder) as pipeline:
        for size in (3, 1, 70_000):
            feeds = {
                "x": np.arange(size, dtype=np.float32)[:, None],
                "s": np.array(["ab", "ü"] * size, object),
            }
            assert_same(pipeline.run(feeds), run_whole(path, feeds))


def test_inputs_handed_through_come_back(tmp_path: Path) -> None:
    model = (
        f"{HEAD} m (float[2] x, float[2] z) => (float[2] y) {{ [a] p = Relu(x) [b] y = Exp(p) }}"
    )
    import onnx

    proto = onnx.parser.parse_model(model)
    proto.graph.output.append(proto.graph.input[1])
    _, folder, _ = split(proto, tmp_path, ["a"], ["b"])
    values = [np.full(2, i, np.float32) for i in range(5)]
    with Pipeline(folder) as pipeline:
        for i, got in enumerate(pipeline.map({"x": v, "z": v + 1} for v in values)):
            np.testing.assert_array_equal(got["z"], values[i] + 1)


def test_a_stage_without_inputs_keeps_pace(tmp_path: Path) -> None:
    model = f"""{HEAD} dice (float[1, 3] x) => (float[1, 3] y) {{
        [r] n = RandomNormal<shape = [1, 3], seed = 1.0>()
        [a] p = Mul(n, x)
        [b] y = Sub(p, p)
    }}"""
    _, folder, _ = split(model, tmp_path, ["r"], ["a"], ["b"], keep=["r"])
    with Pipeline(folder) as pipeline:
        for got in pipeline.map({"x": item(i)["x"]} for i in range(20)):
            assert not got["y"].any()


def test_a_long_skip_does_not_throttle(tmp_path: Path) -> None:
    nodes = "\n".join(f"[n{i}] v{i + 1} = Relu(v{i})" for i in range(4))
    model = f"{HEAD} m (float[3] v0) => (float[3] y) {{ {nodes} [last] y = Add(v1, v4) }}"
    _, folder, _ = split(model, tmp_path, ["n0"], ["n1"], ["n2"], ["n3"], ["last"])
    with Pipeline(folder, depth=1, engine="thread") as pipeline:
        slots = {
            (r.route.source, r.route.target): r.route.slots for r in inside(pipeline)._channels
        }
        assert slots[0, 4] == 4
        assert slots[0, 1] == 1
        ones = np.ones(3, np.float32)
        assert len(list(pipeline.map({"v0": ones} for _ in range(30)))) == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "input 'x': expected a numpy array, got NoneType"),
        ({"x": np.zeros((1, 3))}, "input 'x': expected elements of type float32, got float64"),
        ({"x": np.zeros((3, 1), np.float32)}, "input 'x': expected shape [1, 3], got [3, 1]"),
        ({"w": 1}, "input 'w': expected the model's inputs ('x', 'z'), got another name"),
    ],
)
def test_wrong_inputs_do_not_enter(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a", "b"], ["c", "d"])
    with Pipeline(folder, engine="thread") as pipeline:
        with pytest.raises(InputError) as caught:
            pipeline.run({**item(1), **change})
        assert str(caught.value) == message
        with pytest.raises(InputError, match="input 'z': expected a value, got none"):
            pipeline.run({"x": item(1)["x"]})
        got: list[dict[str, Any]] = []
        with pytest.raises(InputError):
            got.extend(pipeline.map([item(1), item(2), {**item(3), **change}]))
        assert pipeline.run(item(4))["p"][0, 0] == 4


def test_one_name_is_one_size(tmp_path: Path) -> None:
    model = (
        f"{HEAD} m (float[N] x, float[N] z) => (float[N] y) {{ [a] p = Relu(x) [b] y = Add(p, z) }}"
    )
    _, folder, _ = split(model, tmp_path, ["a"], ["b"])
    with Pipeline(folder, engine="thread") as pipeline:
        three, four = np.zeros(3, np.float32), np.zeros(4, np.float32)
        with pytest.raises(InputError, match=r"input 'z': expected shape \[3\], got \[4\]"):
            pipeline.run({"x": three, "z": four})


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fault_in_a_stage_reaches_the_caller(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(FAULTY, tmp_path, ["a"], ["b"], ["c"])
    x = np.ones(3, np.float32)
    feeds = ({"x": x, "i": np.array([int(i == 7) * 9])} for i in range(30))
    with Pipeline(folder, engine=engine) as pipeline:
        start = time.monotonic()
        with pytest.raises(RunError, match=r"stage 1 failed: .*indices element out of data bounds"):
            list(pipeline.map(feeds))
        assert time.monotonic() - start < 2
        assert pipeline.run({"x": x, "i": np.array([1])})["y"] == pytest.approx(np.e)


def test_a_killed_stage_is_named_soon(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    for victim in range(3):
        with Pipeline(folder) as pipeline:
            results = pipeline.map(item(i) for i in count())
            list(islice(results, 5))
            os.kill(inside(pipeline).processes[victim], signal.SIGKILL)
            start = time.monotonic()
            with pytest.raises(RunError, match=f"^stage {victim} died: killed by SIGKILL$"):
                list(results)
            assert time.monotonic() - start < 2  # milliseconds, unless the machine is busy


def test_a_stage_killed_at_rest_is_named_at_the_next_item(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    with Pipeline(folder) as pipeline:
        pipeline.run(item(0))
        os.kill(inside(pipeline).processes[1], signal.SIGKILL)
        with pytest.raises(RunError, match="stage 1 died: killed by SIGKILL"):
            pipeline.run(item(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_broken_stage_file_is_named_at_the_start(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    (folder / "stage1.onnx").write_bytes(b"\xff" * 10)
    with pytest.raises(RunError, match="stage 1 failed: "):
        Pipeline(folder, engine=engine)
    (folder / "stage1.onnx").unlink()
    with pytest.raises(
        InputError, match="expected a stage file, as the manifest says, got no file"
    ):
        Pipeline(folder, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_map_can_be_left_early(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    with Pipeline(folder, engine=engine) as pipeline:
        results = pipeline.map(item(i) for i in count())
        next(results)
        assert pipeline.run(item(7))["p"][0, 0] == 7
        results.close()
        assert pipeline.run(item(9))["p"][0, 0] == 9


def test_leaving_amid_a_map_ends_everything(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    pipeline = Pipeline(folder)

    def interrupted() -> None:
        with pipeline:
            for i, _ in enumerate(pipeline.map(item(i) for i in count())):
                if i == 5:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    pipeline.close()
    with pytest.raises(InputError, match="an open pipeline, got a closed one"):
        pipeline.run(item(1))


def test_a_fault_of_the_callers_items_comes_back(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])

    def items() -> Iterator[dict[str, Any]]:
        yield item(1)
        raise ZeroDivisionError("mine")

    with Pipeline(folder) as pipeline:
        results = pipeline.map(items())
        assert next(results)["p"][0, 0] == 1
        with pytest.raises(ZeroDivisionError, match="mine"):
            next(results)
        assert pipeline.run(item(2))["p"][0, 0] == 2


def test_workers_end_when_the_caller_is_killed(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    program = (
        "import sys, time; from stagewright.runtime import Pipeline\n"
        f"p = Pipeline({str(folder)!r})\n"
        "print(*p._engine.processes, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        workers = [int(pid) for pid in caller.stdout.readline().split()]
        caller.kill()
    assert still_run(workers, 2) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_an_iterator_that_never_goes_on_blocks_nobody(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    go_on = threading.Event()

    def items() -> Iterator[dict[str, Any]]:
        yield item(1)
        go_on.wait(30)
        yield item(2)

    with Pipeline(folder, engine=engine) as pipeline:
        results = pipeline.map(items())
        next(results)
        results.close()
        assert pipeline.run(item(3))["p"][0, 0] == 3
        go_on.set()
        assert pipeline.run(item(4))["p"][0, 0] == 4


def test_a_death_is_told_while_the_callers_iterator_waits(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    go_on = threading.Event()

    def items() -> Iterator[dict[str, Any]]:
        yield item(1)
        go_on.wait(30)

    with Pipeline(folder) as pipeline:
        results = pipeline.map(items())
        next(results)
        os.kill(inside(pipeline).processes[2], signal.SIGKILL)
        with pytest.raises(RunError, match="stage 2 died: killed by SIGKILL"):
            next(results)
        go_on.set()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_caller_may_reuse_its_arrays(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    feeds = item(0)

    def items() -> Iterator[dict[str, Any]]:
        for i in range(30):
            feeds["x"][:] = i
            yield feeds

    with Pipeline(folder, engine=engine) as pipeline:
        kept = list(pipeline.map(items()))
        assert [got["p"][0, 0] for got in kept] == list(range(30))


def test_interrupted_from_the_keyboard_nothing_stays(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    program = (
        "import numpy as np, itertools; from stagewright.runtime import Pipeline\n"
        "x = np.ones((1, 3), np.float32)\n"
        f"with Pipeline({str(folder)!r}) as p:\n"
        "  print(*p._engine.processes, flush=True)\n"
        "  for y in p.map({'x': x, 'z': x} for _ in itertools.count()): pass"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as caller:
        assert caller.stdout is not None
        workers = [int(pid) for pid in caller.stdout.readline().split()]
        time.sleep(0.2)
        os.killpg(caller.pid, signal.SIGINT)
        _, errors = caller.communicate(timeout=5)
    assert caller.returncode == -signal.SIGINT
    assert errors.count(b"Traceback") == 1
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    assert [pid for pid in workers if runs(pid)] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth: expected a whole number >= 1, got 0"),
        ({"threads": 1.5}, "threads: expected a whole number >= 1, got 1.5"),
        ({"engine": "magic"}, "engine: expected 'process', 'thread' or 'ray', got 'magic'"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Pipeline(tmp_path, **options)
    assert str(caught.value) == message


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a folder of stage files with a manifest.json"):
        Pipeline(tmp_path)
