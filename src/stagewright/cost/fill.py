# SPDX-License-Identifier: Apache-2.0
"""Filling the store with the kernels of a model, and costing a model from it.

:func:`fill_store` measures what the store lacks; :func:`apply_store` gives a graph the sums of the
measured times of its kernels, shared among the nodes that each kernel stands for
(:mod:`.attribution`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ..cores import usable_cores
from ..errors import InputError
from ..graph import CostGraph
from .alone import Bench, UnmeasurableError
from .attribution import Shares, attribute, marked_name
from .kernels import KernelCall, describe
from .ort_session import onnxruntime, providers_for
from .profile import model_sha256, node_weights
from .runs import Runner
from .samples import sample_inputs
from .steady import Patience, Steady, median_interval
from .store import Conditions, KernelUse, Measurement, ModelKey, Store
from .surroundings import OtherLoad, cache_bytes, cpu_name, gpu_name, pinned, pinning
from .trace import Kernel

__all__ = [
    "Filling",
    "Setting",
    "apply_store",
    "fill_store",
    "fused_nodes",
    "kernel_times",
]

_IN_PLACE_RUNS: Final = 9


@dataclass(frozen=True)
class Setting:
    """How kernels run.

    Attributes
    ----------
    threads, level
        Session options, see :func:`stagewright.cost.ort_session.session_options`.
    provider
        ``cpu`` or ``cuda``.
    """

    threads: int = 1
    level: str = "all"
    provider: str = "cpu"

    @cached_property
    def runtime(self) -> str:
        """The runtime with its version."""
        return f"onnxruntime {onnxruntime('Costs from a store').__version__}"

    @cached_property
    def device(self) -> str:
        """Name of the processor or the GPU."""
        return cpu_name() if self.provider == "cpu" else gpu_name()

    def conditions(self, weight_bytes: int) -> Conditions:
        """Return what measurements for a model with that many bytes of parameters go under."""
        parameters = "streamed" if weight_bytes > cache_bytes() // 2 else "cached"
        return Conditions(self.device, self.threads, self.runtime, parameters)


@dataclass(frozen=True)
class Filling:
    """What one filling did.

    Attributes
    ----------
    kernels
        Kernels that one inference runs.
    distinct
        Different ones among them.
    known
        Those that the store had.
    measured
        Those that were measured now.
    in_place
        Of these, the ones that the runtime runs only inside their model (control flow ...).
    unsteady
        Of these, the ones whose interval stayed wider than asked for.
    predicted
        Picoseconds of one inference: the sum over all kernels.
    others
        Mean number of cores that other programs kept busy while measuring.
    seconds
        How long it took.
    conditions
        What the measurements are filed under.
    """

    kernels: int
    distinct: int
    known: int
    measured: int
    in_place: int
    unsteady: int
    predicted: int
    others: float
    seconds: float
    conditions: Conditions


@dataclass
class _Look:
    """A model as the runtime executes it."""

    runner: Runner
    feeds: Mapping[str, Any]
    sha256: str
    weight_bytes: int
    calls: dict[Kernel, KernelCall | None]
    shares: dict[Kernel, Mapping[str, float]]
    replaced: dict[str, str] = field(default_factory=dict)
    _traced: Any = None

    def key(self, kernel: Kernel) -> str:
        """Return what the kernel's time is filed under."""
        call = self.calls[kernel]
        place = _in_place_key(self.sha256, kernel)
        return place if call is None else self.replaced.get(call.key, call.key)

    def uses(self) -> list[KernelUse]:
        return [KernelUse(self.key(k), k[1], self.shares.get(k, {})) for k in self.calls]

    def in_place(self, kernel: Kernel) -> Steady:
        """Return the time of a kernel inside the model, from traced runs."""
        if self._traced is None:
            self._traced, _ = self.runner.trace(self.feeds)
        times = [run.kernels[kernel] for run in self._traced]
        low, high = median_interval(times)
        return Steady(sorted(times)[len(times) // 2], low, high, len(times), self.runner.warmup)


def fill_store(
    path: str | Path,
    store: Store,
    setting: Setting | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    patience: Patience | None = None,
    pin: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Filling:
    """Measure those kernels of a model that the store lacks.

    Each is filed as soon as it is known, so that an interrupted filling goes on where it stopped,
    and two at once share the work.

    Parameters
    ----------
    path
        An ONNX model.
    shapes, dims
        Shapes of inputs by name, and values of symbolic dimensions by name.
    patience
        How long and how well to measure each kernel.
    pin
        Cores to hold this process to, such as ``0`` or ``0-3``.
    progress
        Called with the kernels that are done and those to do.

    Raises
    ------
    ModelError, InputError, MissingDependencyError, RunError
        As :func:`stagewright.cost.profile.profile_onnx`.
    """
    setting, patience = setting or Setting(), patience or Patience()
    path = Path(path)
    begun = time.perf_counter()
    with pinned(pin):
        load = OtherLoad()
        model = _model_key(path, setting, shapes, dims)
        found = store.find_model(model)
        if found is None or _lacks(store, found, setting):
            look = _look(path, setting, shapes, dims)
            conditions = setting.conditions(look.weight_bytes)
            counts = _measure(look, store, conditions, setting, patience, progress)
            found = look.weight_bytes, look.uses()
            store.add_model(model, *found)
        else:
            counts = (0, 0, 0)
        uses, conditions = found[1], setting.conditions(found[0])
        times = {use.key: _time(store, use, conditions) for use in uses}
        return Filling(
            kernels=len(uses),
            distinct=len(times),
            known=len(times) - counts[0],
            measured=counts[0],
            in_place=counts[1],
            unsteady=counts[2],
            predicted=sum(times[use.key] or 0 for use in uses),
            others=round(load.cores(), 2),
            seconds=time.perf_counter() - begun,
            conditions=conditions,
        )


def apply_store(
    graph: CostGraph,
    path: str | Path,
    store: Store,
    setting: Setting | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    fallback: CostGraph | None = None,
) -> CostGraph:
    """Return the graph with work from the store.

    A model that the store has not seen runs once, so that its kernels are known.

    Parameters
    ----------
    graph
        What was read from `path`.
    fallback
        The same graph with estimated work, for nodes some of whose kernels were not measured;
        without it, such a node is an error.

    Raises
    ------
    InputError
        If measurements are missing and there is no `fallback`.
    """
    setting = setting or Setting()
    conditions, times = kernel_times(path, store, setting, shapes=shapes, dims=dims)
    work = dict.fromkeys(graph.node_names, 0.0)
    lacking: dict[str, str] = {}
    for use, ps in times:
        for name, fraction in use.shares.items():
            if ps is None:
                lacking[name] = use.op
            elif name in work:
                work[name] += fraction * ps
    if lacking and fallback is None:
        name, op = next(iter(lacking.items()))
        raise InputError(
            f"store {store.path}",
            f"the times of all kernels of {path} on {conditions.device} with "
            f"{conditions.threads} threads and {conditions.runtime}",
            f"none for those of {len(lacking)} nodes, first '{name}' (kernel {op})",
            "Measure what is missing: stagewright profile MODEL --fill. "
            "Or give a device for the rest: --device.",
        )
    # Rounded up: a cost is never understated.
    measured = [-int(-work[name] // 1) for name in graph.node_names]
    if fallback is None:
        return graph.replace(work=measured, node_sources=("measured",) * graph.num_nodes)
    estimated, sources = fallback.work.tolist(), fallback.node_sources
    names = graph.node_names
    return graph.replace(
        work=[e if n in lacking else m for n, e, m in zip(names, estimated, measured, strict=True)],
        node_sources=tuple(
            s if n in lacking else "measured" for n, s in zip(names, sources, strict=True)
        ),
    )


def kernel_times(
    path: str | Path,
    store: Store,
    setting: Setting,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
) -> tuple[Conditions, list[tuple[KernelUse, int | None]]]:
    """Return what a model's measurements are filed under, and its kernels in order.

    Each with its picoseconds, None where the store lacks it.  A model that the store has not seen
    runs once.
    """
    path = Path(path)
    found = store.find_model(_model_key(path, setting, shapes, dims))
    if found is None:
        look = _look(path, setting, shapes, dims)
        found = look.weight_bytes, look.uses()
    conditions = setting.conditions(found[0])
    return conditions, [(use, _time(store, use, conditions)) for use in found[1]]


def fused_nodes(uses: Iterable[KernelUse]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the nodes of each kernel that stands for several.

    A node that several kernels compute (each repeats it) belongs to none.
    """
    regions = dict.fromkeys(tuple(use.shares) for use in uses)
    homes = Counter(name for region in regions for name in region)
    alone = (tuple(name for name in region if homes[name] == 1) for region in regions)
    return tuple(names for names in alone if len(names) > 1)


def _time(store: Store, use: KernelUse, conditions: Conditions) -> int | None:
    found = store.find(use.key, conditions)
    return None if found is None else found.median


def _lacks(store: Store, found: tuple[int, list[KernelUse]], setting: Setting) -> bool:
    conditions = setting.conditions(found[0])
    return any(store.find(key, conditions) is None for key in {use.key for use in found[1]})


def _model_key(
    path: Path,
    setting: Setting,
    shapes: Mapping[str, Sequence[int]] | None,
    dims: Mapping[str, int] | None,
) -> ModelKey:
    inputs = {"shapes": {k: list(v) for k, v in (shapes or {}).items()}, "dims": dict(dims or {})}
    return ModelKey(
        sha256=model_sha256(path),
        shapes=json.dumps(inputs, sort_keys=True),
        runtime=setting.runtime,
        provider=setting.provider,
        threads=setting.threads,
        level=setting.level,
    )


def _look(
    path: Path,
    setting: Setting,
    shapes: Mapping[str, Sequence[int]] | None,
    dims: Mapping[str, int] | None,
) -> _Look:
    """Run a model once to see its kernels."""
    from ..readers.onnx_file import load_model, onnx_node_names
    from ..readers.onnx_inputs import fix_inputs
    from ..readers.onnx_types import ELEMENT_BITS, product

    providers_for(setting.provider, "Measuring kernels")
    model = load_model(path)
    names = onnx_node_names(model)
    for index, node in enumerate(model.graph.node):
        node.name = marked_name(index)
    content = model.SerializeToString()
    runner = Runner(
        path, content, setting.threads, setting.level, 2, _IN_PLACE_RUNS, setting.provider
    )
    fixed = fix_inputs(path, model.graph, shapes or {}, dims or {}).inputs
    with closing(_Session(runner)) as session:
        wanted = {name: value.dims for name, value in fixed.items()}
        feeds = sample_inputs(session.value, path, wanted)
    made, optimised = runner.look(feeds)
    inputs = {name: (fixed[name].elem, tuple(array.shape)) for name, array in feeds.items()}
    shares = attribute(
        model.graph, optimised.graph, node_weights(path, names, shapes or {}, dims or {})
    )
    named: dict[Kernel, Mapping[str, float]] = {
        kernel: _named(found, names) for kernel, found in shares.items()
    }
    weight_bytes = sum(
        product(t.dims) * ELEMENT_BITS.get(t.data_type, 0) // 8 for t in optimised.graph.initializer
    )
    calls = describe(optimised, made, inputs)
    return _Look(runner, feeds, model_sha256(path), weight_bytes, calls, named)


class _Session:
    """A session that is let go before the next one: a large model is not in memory twice."""

    def __init__(self, runner: Runner) -> None:
        self.value = runner.session()

    def close(self) -> None:
        del self.value


def _named(shares: Shares, names: Sequence[str]) -> dict[str, float]:
    return {names[index]: fraction for index, fraction in shares.items()}


def _measure(
    look: _Look,
    store: Store,
    conditions: Conditions,
    setting: Setting,
    patience: Patience,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int, int]:
    """Measure what is missing; return how many there were, in place, and unsteady ones."""
    bench = Bench(
        setting.threads,
        setting.provider,
        conditions.parameters == "streamed",
        cache_bytes(),
        patience,
    )
    todo: dict[str, Kernel] = {}
    for kernel in look.calls:
        key = look.key(kernel)
        if key not in todo and store.find(key, conditions) is None:
            todo[key] = kernel
    in_place = unsteady = 0
    for done, (missing, kernel) in enumerate(todo.items()):
        if progress is not None:
            progress(done, len(todo))
        key, load, call = missing, OtherLoad(), look.calls[kernel]
        try:
            if call is None:
                raise UnmeasurableError(kernel[1])
            found = bench.measure(call)
        except UnmeasurableError:
            if call is not None:
                look.replaced[call.key] = key = _in_place_key(look.sha256, kernel)
            found = look.in_place(kernel)
            in_place += 1
        unsteady += found.spread > patience.precision
        store.add(
            key,
            conditions,
            _record(found, load),
            op=kernel[1] if call is None else call.op,
            dtype="" if call is None else call.dtype,
            shapes="" if call is None else call.shapes,
            signature="" if call is None else call.signature,
        )
    if progress is not None:
        progress(len(todo), len(todo))
    return len(todo), in_place, unsteady


def _in_place_key(sha256: str, kernel: Kernel) -> str:
    """Return the key of a kernel that is only known inside one model."""
    return hashlib.sha256(json.dumps(["in place", sha256, *kernel]).encode()).hexdigest()


def _record(found: Steady, load: OtherLoad) -> Measurement:
    return Measurement(
        median=found.median,
        low=found.low,
        high=found.high,
        runs=found.runs,
        warmup=found.warmup,
        pinned=pinning(),
        cores=usable_cores(),
        others=round(load.cores(), 3),
        taken=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )
