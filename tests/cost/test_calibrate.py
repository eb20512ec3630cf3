# SPDX-License-Identifier: Apache-2.0
"""Calibration: the fit recovers figures, the file is read back, the roofline uses it."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path

import numpy as np
import pytest

from stagewright import api
from stagewright.cost import calibrate as module
from stagewright.cost import probes
from stagewright.cost.alone import Bench
from stagewright.cost.calibrate import calibrate, device_from
from stagewright.cost.calibration_file import device_text, save_device
from stagewright.cost.catalogue import Device, Reach, load_catalogue
from stagewright.cost.classes import CLASSES, class_of
from stagewright.cost.fit import Sample, fit_caches, fit_reach, typical_error
from stagewright.cost.kernels import KernelCall
from stagewright.cost.roofline import apply_roofline, class_work, roofline_work
from stagewright.cost.steady import Steady
from stagewright.errors import InputError
from stagewright.graph import GraphBuilder

KIB = 2**10

TRUE = Device(
    name="truth",
    kind="cpu",
    peak={"float32": 10**11, "int8": 3 * 10**11},
    memory_bandwidth=10**10,
    memory=None,
    overhead=10**6,
    compute_efficiency=0.5,
    bandwidth_efficiency=1.0,
    link="shared-memory",
    source="a test",
    classes={
        "matmul": Reach(0.8, 1.0, 2 * 10**6),
        "conv-depthwise": Reach(0.1, 0.5, 3 * 10**6),
        "elementwise": Reach(None, 1.0, 10**6),
    },
    caches=((32 * KIB, 8 * 10**10), (1024 * KIB, 4 * 10**10)),
    calibration={"threads": "1", "other load": '0.1 "cores"'},
)


def test_a_written_device_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "cpu.toml"
    odd = dataclasses.replace(TRUE, name='odd "name".1', source="line\nbreak \\ tab\t\x7f")
    for device in (TRUE, odd, dataclasses.replace(TRUE, caches=(), classes={}, memory=5)):
        save_device(device, path)
        assert load_catalogue().device(str(path)) == device
    catalogue = load_catalogue(path)
    assert catalogue.device("truth").caches == ()
    assert load_catalogue().device("cpu-core").calibration == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("classes.\"matmul\"", "classes.matrix", "classes.matrix: expected a class out of conv, "),
        ("compute_efficiency = 0.8", "compute_efficiency = 5", "a fraction above 0 and at most 4"),
        ("compute_efficiency = 0.8", "speed = 1", "matmul.speed: expected one of the keys "),
        ('overhead = "2000000 ps"', "overhead = 2", "overhead: expected a text with a unit"),
        ('size = "32768 B"', 'size = "none"', "caches[0].size: expected a size such as '32 MiB'"),
        ('size = "32768 B"', 'size = "9 MiB"', "caches: expected caches in ascending order"),
        ("caches = [", 'caches = [ "x",', "caches[0]: expected a table, got 'x'"),
        ('"threads" = "1"', '"threads" = 1', "calibration.threads: expected a non-empty text, got"),
        ("[devices", "[other", "expected only the tables 'devices' and 'links'"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "cpu.toml"
    text = device_text(TRUE)
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_catalogue().device(str(path))
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_file_must_hold_one_device(tmp_path: Path) -> None:
    path = tmp_path / "cpu.toml"
    path.write_text("")
    with pytest.raises(InputError, match=r"cpu\.toml: expected a file with one device, got 0"):
        load_catalogue().device(str(path))
    with pytest.raises(InputError, match="expected a readable catalogue file"):
        load_catalogue().device(str(tmp_path / "none.toml"))


def test_classes_caches_and_overheads_count() -> None:
    def work(op: str, flops: int, nbytes: int, kind: str = "", dtype: str = "float32") -> int:
        return roofline_work(TRUE, flops=flops, nbytes=nbytes, dtype=dtype, op=op, kind=kind)

    assert work("MatMul", 8 * 10**9, 0) == 2 * 10**6 + 10**11
    assert work("MatMul", 24 * 10**9, 0, dtype="int8") == 2 * 10**6 + 10**11
    assert work("Unheard", 5 * 10**9, 0) == 10**6 + 10**11  # as the device says
    assert work("Conv", 10**9, 0, "conv-depthwise") == 3 * 10**6 + 10**11
    assert work("Add", 0, 32 * KIB) == 10**6 + math.ceil(32 * KIB * 1000 / 80)
    assert work("Add", 0, 32 * KIB + 1) == 10**6 + math.ceil((32 * KIB + 1) * 25)
    assert work("Add", 0, 1024 * KIB + 1) == 10**6 + (1024 * KIB + 1) * 100
    assert work("Add", 0, 0) == 0


def test_the_source_says_whether_figures_were_measured() -> None:
    builder = GraphBuilder("one")
    builder.add_node("a", op="MatMul", flops=5, nbytes=5)
    graph = builder.build()
    assert apply_roofline(graph, TRUE).node_sources == ("calibrated",)
    assert apply_roofline(graph, load_catalogue().device("cpu-core")).node_sources == ("roofline",)


def samples_of(device: Device, noise: float) -> list[Sample]:
    rng = random.Random(0)
    samples = []
    for name in ("matmul", "conv-depthwise", "elementwise"):
        for k in range(10, 26):
            nbytes = 3 * 2**k
            flops = 0 if name == "elementwise" else nbytes * rng.choice((1, 10, 100))
            work = class_work(device, name, flops=flops, nbytes=nbytes, dtype="float32")
            seconds = work / 1e12 * math.exp(rng.gauss(0, noise))
            samples.append(Sample(name, "float32", flops, nbytes, seconds))
    return samples


@pytest.mark.parametrize(("noise", "allowed"), [(0.0, 0.05), (0.1, 0.15)])
def test_the_fit_describes_what_it_was_made_from(
    noise: float, allowed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "cache_sizes", lambda: [size for size, _ in TRUE.caches])
    device = device_from("found", samples_of(TRUE, noise))
    fresh = samples_of(TRUE, 0.0)
    for name in TRUE.classes:
        members = [s for s in fresh if s.name == name]
        work = [
            class_work(device, name, flops=s.flops, nbytes=s.nbytes, dtype="float32") / 1e12
            for s in members
        ]
        assert typical_error(work, [s.seconds for s in members]) < allowed
    assert device.calibration == {"samples": "48"}


def test_one_sample_out_of_line_does_not_pull_the_others() -> None:
    flops = np.logspace(6, 10, 20)
    seconds = 1e-6 + flops / 5e10
    seconds[7] *= 50
    share, _, overhead = fit_reach(flops / 1e11, np.zeros(20), seconds)
    assert share == pytest.approx(0.5, rel=0.02)
    assert overhead < 1e-5


def test_caches_without_samples_are_left_out() -> None:
    samples = [Sample("move", "float32", 0, n, 1 + n / 1e10) for n in (100, 200, 10**6, 10**7)]
    found = fit_caches(samples, [1000, 5000])
    assert [size for size, _ in found] == [1000, 0]
    assert [rate for _, rate in found] == pytest.approx([1e10, 1e10])
    assert typical_error([], []) == 0.0


def test_operators_have_classes() -> None:
    assert class_of("Conv", "conv-3x3") == "conv-3x3"
    assert class_of("Conv") == "conv"
    assert class_of("com.microsoft.FusedMatMul") == "matmul"
    assert class_of("Nonsense") == "other"
    assert {class_of(op) for op in ("Softmax", "LRN", "Add", "Concat", "LSTM")} <= set(CLASSES)


def test_this_machine_is_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the measuring itself, whose times are made up from the truth."""
    pytest.importorskip("onnxruntime", reason="measures with onnxruntime (extra: run)")

    def measure(self: Bench, call: KernelCall) -> Steady:
        nbytes = sum(a.nbytes for a in call.inputs)
        ps = 10**6 + 50 * nbytes
        return Steady(ps, ps, ps, 9, 2)

    monkeypatch.setattr(Bench, "measure", measure)
    # The real sizes would take seconds to make up; what is tested does not depend on them.
    monkeypatch.setattr(probes, "BULK_SIZES", (2**8, 2**10, 2**12))
    monkeypatch.setattr(probes, "_IMAGES", ((16, 6), (16, 8), (16, 10)))
    monkeypatch.setattr(probes, "_MATRICES", ((2, 64, 32), (4, 32, 64)))
    found = calibrate("here")
    assert {s.name for s in found.samples} >= {
        "conv", "conv-3x3", "conv-depthwise", "conv-first", "conv-grouped", "conv-pointwise",
        "conv-transpose", "matmul", "elementwise", "transcendental", "move", "transpose", "pool",
        "reduce", "softmax", "normalise", "lrn",
    }  # fmt: skip
    assert {"float32", "float64", "int8"} <= set(found.device.peak)
    assert {"date", "device", "runtime", "threads", "pinned", "other_load"} <= set(
        found.device.calibration
    )
    save_device(found.device, tmp_path / "here.toml")
    assert load_catalogue().device(str(tmp_path / "here.toml")) == found.device
    onnx = pytest.importorskip("onnx")
    model = Path(onnx.__file__).parent / "backend/test/data/light/light_squeezenet.onnx"
    graph = api.read(model, device=str(tmp_path / "here.toml"))
    assert set(graph.node_sources) == {"calibrated"}
    assert graph.total_work > 0
    assert api.machine_for(2, device=str(tmp_path / "here.toml")).bandwidth
