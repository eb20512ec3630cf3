# SPDX-License-Identifier: Apache-2.0
"""Requests from threads and coroutines, and batches cut into microbatches."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.helpers import (
    ENGINES,
    FAULTY,
    FOREVER,
    HEAD,
    SKIP,
    SLOW,
    item,
    nothing_is_left,
    slow,
)
from tests.splitting.helpers import assert_same, run_whole, split

from stagewright.errors import InputError, RunError
from stagewright.runtime import Pipeline

__all__ = ["nothing_is_left"]

THREE = ["a"], ["b", "c"], ["d"]
BATCH = f"""{HEAD} batch (float[N, 2] x, float[2] bias) => (float[N, 2] y, float[N] s) {{
    [a] p = Add(x, bias)
    [b] y = Relu(p)
    [z] axis = Constant<value_ints = [1]>()
    [c] s = ReduceSum<keepdims = 0>(y, axis)
}}"""


def first(outputs: dict[str, Any]) -> float:
    return float(outputs["p"][0, 0])


@pytest.mark.parametrize("engine", ENGINES)
def test_coroutines_get_their_own_outputs(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)

    async def several() -> list[float]:
        got = await asyncio.gather(*(pipeline.run_async(item(i)) for i in range(40)))
        return [first(outputs) for outputs in got]

    with Pipeline(folder, engine=engine, depth=1) as pipeline:
        assert asyncio.run(several()) == list(range(40))
        # Another event loop, the same pipeline.
        assert asyncio.run(several()) == list(range(40))


def test_an_asynchronous_stream_is_in_order_and_does_not_run_ahead(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    taken: list[int] = []

    async def items() -> AsyncIterator[dict[str, Any]]:
        for i in itertools.count():
            taken.append(i)
            yield item(i)

    async def stream() -> None:
        got = []
        results = pipeline.map_async(items())
        async for outputs in results:
            got.append(first(outputs))
            if len(got) == 20:
                break
        await results.aclose()
        assert got == list(range(20))
        assert len(taken) < 60
        plain = [first(outputs) async for outputs in pipeline.map_async(item(i) for i in range(9))]
        assert plain == list(range(9))

    with Pipeline(folder) as pipeline:
        asyncio.run(stream())


def test_coroutines_learn_of_faults(tmp_path: Path) -> None:
    _, folder, _ = split(FAULTY, tmp_path, ["a"], ["b"], ["c"])
    good = {"x": np.zeros(3, np.float32), "i": np.array([0])}
    bad = {**good, "i": np.array([9])}

    async def run() -> None:
        answers = await asyncio.gather(
            pipeline.run_async(good),
            pipeline.run_async(bad),
            pipeline.run_async({}),
            pipeline.run_async(good),
            return_exceptions=True,
        )
        assert isinstance(answers[1], RunError)
        assert str(answers[1]).startswith("stage 1 failed: ")
        assert isinstance(answers[2], InputError)
        assert answers[0]["y"] == answers[3]["y"] == 1  # type: ignore[index]
        with pytest.raises(RunError, match="stage 1 failed"):
            async for _ in pipeline.map_async([good, bad, good]):
                pass
        with pytest.raises(InputError, match="input 'x': expected a value, got none"):
            async for _ in pipeline.map_async([good, {}]):
                pass

    with Pipeline(folder) as pipeline:
        asyncio.run(run())


def test_a_cancelled_coroutine_disturbs_nobody(tmp_path: Path) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pipeline.run_async(slow(50_000, 1)), 0.001)
        assert (await pipeline.run_async(slow(1, 2)))["y"][0, 0] == -2

    with Pipeline(folder) as pipeline:
        asyncio.run(run())


def test_many_threads_share_a_pipeline(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    with Pipeline(folder, depth=1) as pipeline, ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: first(pipeline.run(item(i))), range(300)))
        assert got == list(range(300))
        streams = [pipeline.map(item(i) for i in range(base, base + 20)) for base in (0, 100)]
        both = [(first(a), first(b)) for a, b in zip(*streams, strict=True)]
        assert both == [(i, i + 100) for i in range(20)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_ten_thousand_requests_come_back_in_order(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(SKIP, tmp_path, *THREE)
    with Pipeline(folder, engine=engine) as pipeline:
        for i, got in enumerate(pipeline.map(item(i) for i in range(10_000))):
            assert got["p"].tolist() == np.maximum(item(i)["x"], 0).tolist()
        assert i == 9_999


@pytest.mark.parametrize("engine", ENGINES)
def test_closing_tells_whoever_waits(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    pipeline = Pipeline(folder, engine=engine, depth=1)
    futures = [pipeline.submit(slow(FOREVER)) for _ in range(2)]
    errors: list[BaseException | None] = []

    def feed() -> None:
        try:
            for _ in range(9):
                futures.append(pipeline.submit(slow(FOREVER)))
        except (RunError, InputError) as error:
            errors.append(error)

    feeder = threading.Thread(target=feed)
    feeder.start()
    pipeline.close()
    feeder.join(5)
    assert not feeder.is_alive()
    for future in futures:
        assert isinstance(future.exception(5), RunError)
    with pytest.raises(InputError, match="an open pipeline, got a closed one"):
        pipeline.submit(slow(1))


def test_draining_waits_for_all(tmp_path: Path) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    with Pipeline(folder) as pipeline:
        futures = [pipeline.submit(slow(2_000, i)) for i in range(6)]
        pipeline.drain()
        assert [f.result(0)["y"][0, 0] for f in futures] == [0, -1, -2, -3, -4, -5]


@pytest.mark.parametrize("engine", ENGINES)
def test_microbatches_are_put_together_again(tmp_path: Path, engine: Any) -> None:
    path, folder, _ = split(BATCH, tmp_path, ["a"], ["b", "c"])
    rng = np.random.default_rng(3)
    with Pipeline(folder, engine=engine, microbatch=3) as pipeline:
        feeds = [
            {
                "x": rng.standard_normal((rows, 2), dtype=np.float32),
                "bias": rng.standard_normal(2, dtype=np.float32),
            }
            for rows in (1, 3, 7, 0, 12)
        ]
        for got, feed in zip(pipeline.map(feeds), feeds, strict=True):
            assert_same(got, run_whole(path, feed))
        assert_same(pipeline.run(feeds[2]), run_whole(path, feeds[2]))
        # 1 + 1 + 3 + 1 + 4 parts, and 3 more.
        assert pipeline.history().items >= 12


def test_microbatches_of_a_fixed_batch(tmp_path: Path) -> None:
    model = BATCH.replace("[N", "[3")
    path, folder, _ = split(model, tmp_path, ["a"], ["b", "c"])
    x, bias = np.arange(12, dtype=np.float32).reshape(6, 2), np.array([-2, 1], np.float32)
    with Pipeline(folder, engine="thread", microbatch=3) as pipeline:
        got = pipeline.run({"x": x, "bias": bias})
        parts = [run_whole(path, {"x": x[i : i + 3], "bias": bias}) for i in (0, 3)]
        assert_same(got, {n: np.concatenate([p[n] for p in parts]) for n in ("y", "s")})
        with pytest.raises(InputError, match="input 'x': expected a multiple of 3 rows, got 5"):
            pipeline.run({"x": x[:5], "bias": bias})
        with pytest.raises(InputError, match=r"input 'x': expected shape \[batch, 2\], got"):
            pipeline.run({"x": x.reshape(4, 3), "bias": bias})
    with pytest.raises(InputError, match="microbatch: expected a model with one symbolic size"):
        Pipeline(folder, microbatch=4)


def test_outputs_without_a_batch_are_not_put_together(tmp_path: Path) -> None:
    model = BATCH.replace("float[N] s", "float s").replace("[1]>()", "[0, 1]>()")
    _, folder, _ = split(model, tmp_path, ["a"], ["b", "c"])
    with pytest.raises(InputError) as caught:
        Pipeline(folder, microbatch=2)
    assert str(caught.value) == (
        "microbatch: expected outputs whose first axis is the batch (N), got output 's' of shape []"
    )
    with pytest.raises(InputError, match="microbatch: expected a whole number >= 1, got 0"):
        Pipeline(folder, microbatch=0)


def test_a_failed_part_fails_its_batch(tmp_path: Path) -> None:
    model = FAULTY.replace("[3]", "[N]").replace("[1]", "[N]")
    _, folder, _ = split(model, tmp_path, ["a"], ["b"], ["c"])
    x = np.zeros(4, np.float32)
    with Pipeline(folder, microbatch=2) as pipeline:
        with pytest.raises(RunError, match="stage 1 failed"):
            pipeline.run({"x": x, "i": np.array([0, 1, 0, 9])})
        assert pipeline.run({"x": x, "i": np.array([0, 1, 0, 1])})["y"].tolist() == [1] * 4
