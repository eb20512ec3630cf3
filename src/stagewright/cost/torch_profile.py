# SPDX-License-Identifier: Apache-2.0
"""Measured work: node times by PyTorch on this machine, operator by operator as it runs eagerly."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..cores import usable_cores
from ..errors import InputError
from ..readers import FORMATS, file_kind
from ..readers.settings import ReadSettings
from ..units import TIME_UNITS
from .measured import graph_sha256
from .node_times import (
    Correction,
    Kernel,
    Shares,
    TracedRun,
    attributed_share,
    check_count,
    node_times,
    summary,
    typical_times,
    whole_run,
)
from .profile_file import Profile
from .steady import is_steady
from .surroundings import OtherLoad, cpu_name, pinning
from .torch_tape import Tape

__all__ = ["profile_torch"]

_PS_PER_NS: Final = TIME_UNITS["ns"]


@dataclass(frozen=True)
class _Exported:
    """A program and how it is read: see :func:`stagewright.readers.torch_program.read_program`."""

    program: Any
    name: str
    item: str
    resident: Sequence[str] = ()
    prefix: str = ""
    shapes: Mapping[str, Sequence[int]] | None = None


def profile_torch(
    model: Any,
    example_inputs: Any = None,
    *,
    threads: int = 1,
    warmup: int = 3,
    repetitions: int = 20,
    precision: float | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    settings: ReadSettings | None = None,
    seed: int = 0,
) -> Profile:
    """Measure the time of every node of a PyTorch model, as :func:`stagewright.read` names them.

    The program that is read runs in this process with eager kernels: untraced, for the time of a whole
    run, then with a clock at every node.  Node times are corrected so that they add up to the untraced run,
    what the views between them take included (docs/costs.md).

    Parameters
    ----------
    model
        A module, an ``ExportedProgram``, a ``.pt2`` file, or a Hugging Face configuration.
    example_inputs
        For a module: as for :func:`stagewright.read`.  Contents are used if they have any.
    threads
        Threads inside an operator.
    warmup, repetitions
        Runs before the measured ones, and measured runs, both without and with clocks.
    precision
        Repeat, at most ten times `repetitions`, until the interval that holds the median time of a
        run with 95 % reaches this fraction to either side.
    shapes, settings
        As for :func:`stagewright.read`.
    seed
        Seed of random weights and inputs.

    Raises
    ------
    InputError
        If an option is wrong, or the file holds no PyTorch model.
    ModelError
        If the model cannot be exported, or an operator does not run.
    LimitError
        If the weights do not fit into memory.
    MissingDependencyError
        If torch is not installed.
    """
    from ..readers.torch_export import require_torch

    check_count("threads", threads, 1)
    check_count("warmup", warmup, 0)
    check_count("repetitions", repetitions, 1)
    if precision is not None and not 0 < precision < 1:
        raise InputError("precision", "a fraction between 0 and 1", repr(precision))
    require_torch("Profiling a PyTorch model")
    import torch

    from ..readers.torch_graph import node_names
    from ..readers.torch_program import graph_of_walk, walk_program
    from .torch_values import real_values

    exported = _export(model, example_inputs, shapes, settings or ReadSettings())
    found = walk_program(
        exported.program,
        exported.item,
        shapes=exported.shapes,
        resident=exported.resident,
        prefix=exported.prefix,
    )
    graph = graph_of_walk(found, exported.name, exported.item)
    names = node_names(found.walk.steps, found.outputs)
    with torch.no_grad(), _threads(threads):
        given = real_values(found, exported.item, seed)
        load = OtherLoad()
        tape = Tape(
            exported.item,
            found.program.graph_module,
            given.values,
            given.constant,
            found.walk.calls,
            names,
        )
        often = _Repeat(warmup, repetitions, precision)
        wall_times, cpu_times = _whole_runs(tape, often)
        runs = often.collect(lambda: _traced(tape), lambda run: run.total)
    wall, cpu = summary(wall_times), summary(cpu_times)
    index = {name: i for i, name in enumerate(graph.node_names)}
    shares: dict[Kernel, Shares] = {k: {index[k[0]]: 1.0} for k in tape.kernels}
    whole = whole_run(wall, cpu, threads, "cpu")
    typical = typical_times(runs, busy=whole < 0.9 * wall.median)
    correction = Correction.of(typical, whole, shares)
    return Profile(
        model_sha256=graph_sha256(graph),
        nodes=node_times(graph.node_names, runs, typical, shares, correction),
        session=wall,
        cpu_time=cpu.median,
        traced_session=round(statistics.median(run.total for run in runs)),
        trace_overhead=correction.overhead,
        attributed=min(1.0, statistics.median(attributed_share(run, shares) for run in runs)),
        shapes=given.shapes,
        threads=threads,
        level="disabled",
        runtime=f"torch {torch.__version__}",
        warmup=warmup,
        repetitions=len(wall_times),
        seed=seed,
        cpu=cpu_name(),
        cores=usable_cores(),
        pinned=pinning(),
        others=round(load.cores(), 3),
    )


def _export(
    model: Any,
    example_inputs: Any,
    shapes: Mapping[str, Sequence[int]] | None,
    settings: ReadSettings,
) -> _Exported:
    """Return the program of whatever was given."""
    from ..readers.torch_module import export_torch, is_torch_object

    if is_torch_object(model):
        settings.refuse_model_options(type(model).__name__, "what is given")
        program, name = export_torch(model, example_inputs, shapes)
        return _Exported(program, name, name, shapes=shapes)
    if example_inputs is not None:
        raise InputError(
            "example_inputs", "none for a file", type(example_inputs).__name__, "Leave it out."
        )
    if not isinstance(model, (str, Path)):
        raise InputError("model", "a path, a module or an exported program", type(model).__name__)
    kind = file_kind(model)
    if kind == "hf":
        from ..readers.hf_model import export_config

        made = export_config(model, shapes=shapes, **settings.model_options())
        item = f"{model} ({made.name})"
        return _Exported(made.program, made.name, item, made.resident, made.prefix)
    if kind != "pt2":
        raise InputError(
            str(model),
            "a model to run: ONNX, a PyTorch program (.pt2) or a Hugging Face configuration",
            FORMATS[kind].title,
        )
    from ..readers.torch_file import load_program

    settings.refuse_model_options(str(model), FORMATS[kind].title)
    return _Exported(load_program(model), Path(model).stem, str(model), shapes=shapes)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let operators use so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Repeat:
    """How often to run."""

    warmup: int
    repetitions: int
    precision: float | None

    def collect(
        self, run: Callable[[], TracedRun], total: Callable[[TracedRun], int]
    ) -> list[TracedRun]:
        """Return the measured runs."""
        for _ in range(self.warmup):
            run()
        found: list[TracedRun] = []
        most = self.repetitions * (1 if self.precision is None else 10)
        while len(found) < most:
            found.append(run())
            enough = len(found) >= self.repetitions and self.precision is not None
            if enough and is_steady([total(each) for each in found], self.precision or 0):
                break
        return found


def _traced(tape: Tape) -> TracedRun:
    tape.restore()
    return tape.traced()


def _whole_runs(tape: Tape, often: _Repeat) -> tuple[list[int], list[int]]:
    """Return the picoseconds of runs without clocks, by the wall clock and of processor time."""
    cpu: list[int] = []

    def run() -> TracedRun:
        tape.restore()
        cpu_begin, begin = time.process_time_ns(), time.perf_counter_ns()
        tape.run()
        end, cpu_end = time.perf_counter_ns(), time.process_time_ns()
        cpu.append((cpu_end - cpu_begin) * _PS_PER_NS)
        return TracedRun((end - begin) * _PS_PER_NS, {})

    wall = [each.total for each in often.collect(run, lambda each: each.total)]
    return wall, cpu[often.warmup :]
