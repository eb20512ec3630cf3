# SPDX-License-Identifier: Apache-2.0
"""Plans whose devices run several stages, as stage files and as running pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stagewright as sw
from stagewright.errors import InputError
from stagewright.graph import CostGraph
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.runtime.settings import stage_settings
from stagewright.splitting.manifest import Manifest

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

WORK = [6, 1, 6, 1, 6, 4]
TEXT = """<ir_version: 8, opset_import: ["" : 17]>
chain (float[1, 3] x) => (float[1, 3] y) {
    [n0] a = Relu(x)
    [n1] b = Exp(a)
    [n2] c = Neg(b)
    [n3] d = Exp(c)
    [n4] e = Neg(d)
    [n5] y = Exp(e)
}"""


def split(folder: Path) -> tuple[Manifest, CostGraph]:
    """Plan six nodes for two shared devices, 12 of work each, and split the model."""
    model = folder / "chain.onnx"
    onnx.save(onnx.parser.parse_model(TEXT), model)
    graph = sw.read(model).replace(work=[w * 10**9 for w in WORK])
    fleet = Fleet((Kind("a", 2, Link(free=True)),), shared=True)
    result = sw.place(graph, fleet, time_limit=20)
    assert result.bottleneck == 0.012
    result.save(folder / "plan.json")
    made = sw.split(model, folder / "plan.json", folder / "stages")
    assert sw.split(model, result, folder / "again") == made
    return made, graph


def test_stages_of_one_device_share_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = split(tmp_path)
    workers = [stage.worker for stage in manifest.stages]
    assert set(workers) == {0, 1}
    assert len(workers) > 2
    assert manifest.predicted_period == 0.012
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {4, 5, 6, 7}, raising=False)
    for threads in (1, 2):
        settings = stage_settings(manifest, tmp_path / "stages", threads, "all", pin_cores=True)
        cores = {w: s.cores for w, s in zip(workers, settings, strict=True)}
        assert all(s.cores == cores[w] for w, s in zip(workers, settings, strict=True))
        assert set(cores[0]).isdisjoint(cores[1])
        assert all(len(row) == threads for row in cores.values())


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_outputs_are_those_of_the_model(tmp_path: Path, engine: Any) -> None:
    manifest, _ = split(tmp_path)
    with sw.Pipeline(tmp_path / "stages", engine=engine) as pipeline:
        items = [{"x": np.array([[i, -1, 2]], np.float32)} for i in range(20)]
        for item, found in zip(items, pipeline.map(items), strict=True):
            x = np.maximum(item["x"], 0)
            right = np.exp(-np.exp(-np.exp(x)))
            assert np.allclose(found["y"], right, rtol=1e-5)
    assert len(manifest.stages) > 2


def test_a_manifest_with_a_wrong_worker(tmp_path: Path) -> None:
    split(tmp_path)
    path = tmp_path / "stages" / "manifest.json"
    data = json.loads(path.read_text())
    data["stages"][0]["worker"] = "first"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="worker 'first'"):
        Manifest.load(tmp_path / "stages")
