# SPDX-License-Identifier: Apache-2.0
"""Calibration: short measurements on this machine that give the roofline its figures.

The operators of :mod:`.probes` are measured like those of any model (:mod:`.fill`), the catalogue's
figures are fitted to them (:mod:`.fit`), and the result is a device like any other, in a file that
``--device FILE.toml`` takes.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from ..graph import CostGraph
from ..units import PS_PER_SECOND
from .catalogue import Device, Reach
from .classes import class_of
from .fill import Filling, Setting, fill_store, kernel_times
from .fit import Sample, fit_caches, fit_reach, typical_error
from .roofline import class_work
from .steady import Patience
from .store import KernelUse, Store
from .surroundings import cache_sizes, pinned, pinning

__all__ = ["Calibration", "calibrate", "device_from"]

_LEAST_SAMPLES: Final = 3
_SOME_RATE: Final = 1e10
"""Bytes per second where nothing was measured that says more."""
_LAYOUT: Final = "Reorder"
_FULL_RATE: Final = 0.97
"""The best rate seen counts as this share of the peak: no measurement is the best possible one."""


@dataclass(frozen=True)
class Calibration:
    """A device with measured figures, and how well they describe the measurements.

    Attributes
    ----------
    device
        For the catalogue.
    samples
        Operators that were measured.
    errors
        Median over the operators of each class of how far estimated / measured is from 1.
    filling
        How the measuring went.
    """

    device: Device
    samples: tuple[Sample, ...]
    errors: dict[str, float]
    filling: Filling


def calibrate(
    name: str = "calibrated",
    setting: Setting | None = None,
    *,
    patience: Patience | None = None,
    pin: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Measure this machine.

    Parameters
    ----------
    name
        Name of the device in its file.
    setting, patience, pin, progress
        As :func:`stagewright.cost.fill.fill_store`.

    Raises
    ------
    InputError, MissingDependencyError, RunError
        As :func:`stagewright.cost.fill.fill_store`.
    """
    import onnx

    from ..readers.onnx_model import read_onnx
    from .probes import probe_model

    setting, patience = setting or Setting(), patience or Patience(seconds=0.25)
    with tempfile.TemporaryDirectory(prefix="stagewright-") as folder, pinned(pin):
        path = Path(folder) / "probes.onnx"
        onnx.save(probe_model(), path)
        with Store(Path(folder) / "probes.sqlite") as store:
            filling = fill_store(path, store, setting, patience=patience, progress=progress)
            _, kernels = kernel_times(path, store, setting)
        held = pinning()
        samples = _samples(read_onnx(path), kernels)
    device = device_from(name, samples, notes=_notes(setting, filling, held, len(samples)))
    return Calibration(device, tuple(samples), _errors(samples, device), filling)


def _samples(graph: CostGraph, kernels: Sequence[tuple[KernelUse, int | None]]) -> list[Sample]:
    """Return the measured kernels as operators: a fused one counts as its main node.

    Changes of layout belong to no operator; in a model they are a small part.
    """
    samples = []
    for use, ps in kernels:
        nodes = [graph.index_of[name] for name in use.shares if name in graph.index_of]
        if not ps or not nodes or use.op.startswith(_LAYOUT):
            continue
        main = max(nodes, key=lambda v: (int(graph.flops[v]), int(graph.nbytes[v])))
        flops, nbytes = int(graph.flops[nodes].sum()), int(graph.nbytes[main])
        if flops or nbytes:
            name = class_of(graph.node_ops[main], graph.node_kinds[main])
            dtype = graph.node_dtypes[main]
            samples.append(Sample(name, dtype, flops, nbytes, ps / PS_PER_SECOND))
    return samples


def device_from(
    name: str, samples: Sequence[Sample], *, notes: dict[str, str] | None = None
) -> Device:
    """Return the device whose roofline describes the samples best."""
    movers = [s for s in samples if s.name in ("elementwise", "move")]
    overhead = min((s.seconds for s in movers), default=1e-6) / 2
    levels = fit_caches(movers, cache_sizes()) or [(0, _SOME_RATE)]
    caches, memory = [level for level in levels if level[0]], levels[-1][1]
    peak = {
        dtype: max(s.flops / s.seconds for s in samples if s.dtype == dtype) / _FULL_RATE
        for dtype in dict.fromkeys(s.dtype for s in samples if s.flops > s.nbytes)
    }
    plain = Device(
        name=name,
        kind="cpu",
        peak={dtype: round(rate) for dtype, rate in peak.items()},
        memory_bandwidth=round(memory),
        memory=None,
        overhead=round(overhead * PS_PER_SECOND),
        compute_efficiency=0.7,
        bandwidth_efficiency=1.0,
        link="shared-memory",
        source="measured by stagewright calibrate",
        caches=tuple((size, round(rate)) for size, rate in caches),
        calibration=notes or {"samples": str(len(samples))},
    )
    classes = {}
    for group in sorted({s.name for s in samples}):
        members = [s for s in samples if s.name == group]
        if len(members) >= _LEAST_SAMPLES:
            classes[group] = _reach(plain, members)
    return _with_classes(plain, classes)


def _reach(device: Device, samples: Sequence[Sample]) -> Reach:
    compute = [s.flops / float(device.peak_rate(s.dtype)) for s in samples]
    memory = [s.nbytes / float(_level(device, s.nbytes)) for s in samples]
    measured = [s.seconds for s in samples]
    c, m, overhead = fit_reach(np.array(compute), np.array(memory), np.array(measured))
    return Reach(round(c, 4), round(m, 4), round(overhead * PS_PER_SECOND))


def _level(device: Device, nbytes: int) -> Fraction:
    rate = next((r for size, r in device.caches if nbytes <= size), device.memory_bandwidth)
    return Fraction(rate)


def _with_classes(device: Device, classes: dict[str, Reach]) -> Device:
    """Add the classes; operators of no class do as the median of those that were measured."""
    shares = [r.compute for r in classes.values() if r.compute is not None]
    typical = min(1.0, float(np.median(shares))) if shares else device.compute_efficiency
    return replace(device, classes=classes, compute_efficiency=round(typical, 4))


def _errors(samples: Sequence[Sample], device: Device) -> dict[str, float]:
    groups: dict[str, list[tuple[float, float]]] = {}
    for s in samples:
        work = class_work(device, s.name, flops=s.flops, nbytes=s.nbytes, dtype=s.dtype)
        groups.setdefault(s.name, []).append((work / PS_PER_SECOND, s.seconds))
    return {
        name: typical_error([e for e, _ in pairs], [m for _, m in pairs])
        for name, pairs in sorted(groups.items())
    }


def _notes(setting: Setting, filling: Filling, held: str, samples: int) -> dict[str, str]:
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "device": setting.device,
        "runtime": setting.runtime,
        "provider": setting.provider,
        "threads": str(setting.threads),
        "pinned": held,
        "other_load": f"{filling.others:.2f} cores",
        "samples": str(samples),
        "unsteady": str(filling.unsteady),
    }
