# SPDX-License-Identifier: Apache-2.0
"""Random models through small rings: no deadlock, and the values of the whole model."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.splitting.helpers import assert_same, random_plan, run_whole, split
from tests.splitting.test_random_models import random_model

from stagewright.readers.onnx_model import read_onnx
from stagewright.runtime import Pipeline
from stagewright.splitting import split_onnx


@pytest.mark.parametrize(("engine", "seeds"), [("process", range(4)), ("thread", range(4, 16))])
@pytest.mark.parametrize("loose", [False, True], ids=["slots", "pipes"])
def test_random_pipelines(tmp_path: Path, engine: Any, seeds: range, loose: bool) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        path, out = tmp_path / f"{seed}.onnx", tmp_path / f"out{seed}"
        onnx.save(random_model(rng), path)
        graph = read_onnx(path)
        split_onnx(path, graph, random_plan(graph, 4, rng), out, document=None)
        if loose:
            text = (out / "manifest.json").read_text()
            (out / "manifest.json").write_text(text.replace('"bytes": 32', '"bytes": null'))
        numbers = np.random.default_rng(seed)
        feeds = [
            {n: numbers.standard_normal((2, 4), dtype=np.float32) for n in ("x", "z")}
            for _ in range(25)
        ]
        with Pipeline(out, engine=engine, depth=1, level="disabled") as pipeline:
            for got, feed in zip(pipeline.map(feeds), feeds, strict=True):
                assert_same(got, run_whole(path, feed))


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_large_tensors_of_unknown_size_overtake_nothing(tmp_path: Path, engine: Any) -> None:
    model = """<ir_version: 8, opset_import: ["" : 17]>
    m (float[N] x, float[N] z) => (float[N] y, float[N] p) {
        [a] p = Relu(x)
        [b] q = Exp(p)
        [c] r = Add(q, z)
        [d] s = Sub(r, p)
        [e] y = Add(s, x)
    }"""
    path, folder, _ = split(model, tmp_path, ["a"], ["b"], ["c"], ["d"], ["e"])
    feeds = [
        {"x": np.full(70_000, i / 9, np.float32), "z": np.ones(70_000, np.float32)}
        for i in range(20)
    ]
    with Pipeline(folder, engine=engine, depth=1) as pipeline:
        assert_same(pipeline.run(feeds[3]), run_whole(path, feeds[3]))
        for got, feed in zip(pipeline.map(feeds), feeds, strict=True):
            assert_same(got, run_whole(path, feed))
