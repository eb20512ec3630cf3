# SPDX-License-Identifier: Apache-2.0
"""Symbolic sizes that differ from item to item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from benchmarks.small_models import branching, transformer, unet
from tests.runtime.helpers import nothing_is_left
from tests.splitting.helpers import assert_same, run_whole

from stagewright import api
from stagewright.cli import main
from stagewright.errors import InputError
from stagewright.runtime import Pipeline
from stagewright.runtime.inputs import random_inputs

__all__ = ["nothing_is_left"]


def test_stages_of_any_size(tmp_path: Path) -> None:
    path, sizes = tmp_path / "model.onnx", {"batch": 4, "sequence": 16}
    onnx.save(transformer(layers=2, width=16), path)
    graph = api.read(path, device="h100-sxm", dims=sizes)
    result = api.plan(graph, 3, bandwidth="100TB/s")
    result.save(tmp_path / "plan.json")
    command = ["split", str(path), str(tmp_path / "plan.json"), "-o", str(tmp_path / "any")]
    assert main([*command, "--any-size", *(f"--dim={n}={s}" for n, s in sizes.items())]) == 0
    rng = np.random.default_rng(0)
    with Pipeline(tmp_path / "any", engine="thread", level="disabled") as pipeline:
        assert len(pipeline.manifest.stages) == 3
        feeds = [
            {"x": rng.standard_normal((n, t, 16), dtype=np.float32)}
            for n, t in ((1, 3), (4, 16), (7, 5))
        ]
        for got, feed in zip(pipeline.map(feeds), feeds, strict=True):
            np.testing.assert_array_equal(got["y"], run_whole(path, feed)["y"])
    report = api.run(tmp_path / "any", batches=12, engine="thread", dims=sizes, microbatch=2)
    assert report.outputs_equal
    api.split(path, result, tmp_path / "fixed", dims=sizes)
    with (
        Pipeline(tmp_path / "fixed", engine="thread") as pipeline,
        pytest.raises(InputError, match=r"expected shape \[4, 16, 16\], got \[1, 3, 16\]"),
    ):
        pipeline.run(feeds[0])


@pytest.mark.parametrize("make", [unet, branching])
def test_long_skips_and_branches(tmp_path: Path, make: object) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(unet(2, 4, 16) if make is unet else branching(4, 16), path)
    result = api.plan(api.read(path, device="h100-sxm"), 3, bandwidth="100TB/s")
    manifest = api.split(path, result, tmp_path / "stages")
    assert len(manifest.stages) == 3
    with Pipeline(tmp_path / "stages", engine="thread", level="disabled") as pipeline:
        for seed in range(6):
            feed = random_inputs(manifest.inputs, seed)
            assert_same(pipeline.run(feed), run_whole(path, feed))
