# SPDX-License-Identifier: Apache-2.0
"""The commands profile and calibrate, with made-up times of kernels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagewright.cli import main
from stagewright.cost import probes
from stagewright.cost.alone import Bench
from stagewright.cost.kernels import KernelCall
from stagewright.cost.steady import Steady

onnx = pytest.importorskip("onnx", reason="reads ONNX models")
pytest.importorskip("onnxruntime", reason="measures with onnxruntime (extra: run)")

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
MODEL = str(LIGHT / "light_squeezenet.onnx")


@pytest.fixture(autouse=True)
def made_up_times(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(self: Bench, call: KernelCall) -> Steady:
        ps = 10**6 + sum(a.nbytes for a in call.inputs)
        return Steady(ps, ps, ps, 9, 2)

    monkeypatch.setattr(Bench, "measure", measure)


def test_fill_then_plan_check_and_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, plan = str(tmp_path / "store.sqlite"), str(tmp_path / "plan.json")
    planning = ["plan", MODEL, "-k", "2", "--store", store, "--link", "shared-memory"]
    assert main(planning) == 2
    assert (
        "got no such file. Fill one: stagewright profile MODEL --fill." in capsys.readouterr().err
    )
    assert main(["profile", MODEL, "--fill", "--store", store, "--json"]) == 0
    filled = json.loads(capsys.readouterr().out)
    assert filled["measured"] == filled["distinct"] > filled["known"] == 0
    assert main(["profile", MODEL, "--fill", "--store", store]) == 0
    assert f"{filled['distinct']} known, 0 measured now" in capsys.readouterr().out
    assert main([*planning, "-o", plan]) == 0
    assert "All work is measured." in capsys.readouterr().out
    costs = json.loads(Path(plan).read_text())["source"]["costs"]
    assert list(costs) == ["measured"]
    assert main(["check", MODEL, plan]) in (0, 3)  # found again with the plan's own source
    assert main(["split", MODEL, plan, "-o", str(tmp_path / "stages")]) == 0


@pytest.mark.parametrize("arguments", [["--fill", "-o", "p.json"], []])
def test_a_profile_goes_either_way(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", MODEL, *arguments]) == 2
    assert "profile: expected either --fill" in capsys.readouterr().err


def test_calibrate_then_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "BULK_SIZES", (2**8, 2**10, 2**12))
    monkeypatch.setattr(probes, "_IMAGES", ((16, 6), (16, 8), (16, 10)))
    monkeypatch.setattr(probes, "_MATRICES", ((2, 64, 32), (4, 32, 64)))
    device = str(tmp_path / "cpu.toml")
    assert main(["calibrate", "-o", device, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibration"]["threads"] == "1"
    assert main(["plan", MODEL, "-k", "2", "--device", device]) == 0
    assert "All work is estimated for a calibrated device." in capsys.readouterr().out
    assert main(["calibrate", "-o", str(tmp_path / "no" / "cpu.toml")]) == 2
    assert "expected a writable file" in capsys.readouterr().err
