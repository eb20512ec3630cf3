# SPDX-License-Identifier: Apache-2.0
"""Published workloads with their devices as published: the published optimum, proven and checked."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import pytest

import stagewright as sw

RAW = Path(__file__).resolve().parents[3] / "shared" / "instances" / "raw"
needs_files = pytest.mark.skipif(not RAW.exists(), reason=f"no published workloads at {RAW}")
Mode = Literal["inference", "training"]


@needs_files
@pytest.mark.parametrize(
    ("name", "mode", "optimum"),
    [
        ("bert24_inference", "inference", 17.78990625),
        ("gnmt_inference_layer", "inference", 32.910658203125),
        ("bert_l-3_inference_operator", "inference", 27.9185676799),
        ("bert_l-3_training_operator", "training", 65.3031491221),
        ("resnet50_training_layer", "training", 78.6318125),
    ],
)
def test_published_optimum(name: str, mode: Mode, optimum: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = sw.place(RAW / f"{name}.json", mode=mode)
    assert result.status == "optimal"
    # Published values have about twelve digits; ours round every time up to a picosecond.
    assert result.bottleneck * 1e3 == pytest.approx(optimum, rel=1e-8)
    assert result.check(exhaustive_seconds=0.2).valid


@needs_files
def test_small_ones_are_verified_at_once(tmp_path: Path) -> None:
    result = sw.place(RAW / "bert24_inference.json")
    assert result.check().exit_code == 0
    result.save(tmp_path / "plan.json")
    assert sw.check(result.workload.graph, tmp_path / "plan.json").exit_code == 0


@needs_files
def test_published_period_of_shared_devices() -> None:
    """The published optimum with several stages per device, within 0.12 % of what counting proves."""
    from dataclasses import replace

    from stagewright.placement.reading import published_fleet, read_workload
    from stagewright.placement.sharing_method import solve_shared

    path = RAW / "bert24_inference.json"
    fleet = replace(published_fleet(path, "inference"), shared=True)
    found = solve_shared(read_workload(path), fleet, solver=None)
    assert found.bottleneck <= 17_714_718_750
    assert found.lower_bound >= 17_695_000_000
