# SPDX-License-Identifier: Apache-2.0
"""Running a model with onnxruntime: untraced for whole runs, traced for kernels."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..units import TIME_UNITS
from .ort_session import onnxruntime, providers_for, session_options
from .steady import is_steady
from .trace import Shapes, TracedRun, read_shapes, read_trace

__all__ = ["Runner"]


@dataclass(frozen=True)
class Runner:
    """A model, the options to run it with, and how often.

    Attributes
    ----------
    path
        Where the model came from: names it in messages, and its folder holds external data.
    content
        The serialised model.
    threads, level
        As :func:`stagewright.cost.ort_session.session_options`.
    warmup, repetitions
        Runs before the measured ones, and measured runs.
    provider
        Where it runs: ``cpu`` or ``cuda``.
    """

    path: Path
    content: bytes
    threads: int
    level: str
    warmup: int
    repetitions: int
    provider: str = "cpu"

    def session(self, options: Any | None = None) -> Any:
        """Return a new session.

        Raises
        ------
        ModelError
            If the runtime refuses the model.
        """
        ort = onnxruntime("Profiling a model")
        options = options or session_options(self.threads, self.level)
        # The model comes as bytes, for its nodes were renamed; external data is beside the file.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self.path.resolve().parent)
        )
        providers = providers_for(self.provider, "Profiling a model")
        return self._guarded(
            lambda: ort.InferenceSession(self.content, options, providers=providers)
        )

    def time(
        self, session: Any, feeds: Mapping[str, Any], precision: float | None = None
    ) -> tuple[list[int], list[int]]:
        """Return the picoseconds of each measured run, by the wall clock and of processor time.

        With a `precision` runs go on, up to ten times as many, until the interval that holds the
        wall clock's median with 95 % reaches this fraction to either side.

        Raises
        ------
        ModelError
            If a run fails.
        """
        wall: list[int] = []
        cpu: list[int] = []
        wanted = self.warmup + self.repetitions
        most = wanted if precision is None else self.warmup + 10 * self.repetitions
        while len(wall) < most:
            taken = wall[self.warmup :]
            if len(wall) >= wanted and (precision is None or is_steady(taken, precision)):
                break
            cpu_begin, begin = time.process_time_ns(), time.perf_counter_ns()
            self._guarded(lambda: session.run(None, feeds))
            end, cpu_end = time.perf_counter_ns(), time.process_time_ns()
            wall.append((end - begin) * TIME_UNITS["ns"])
            cpu.append((cpu_end - cpu_begin) * TIME_UNITS["ns"])
        return wall[self.warmup :], cpu[self.warmup :]

    def trace(self, feeds: Mapping[str, Any]) -> tuple[list[TracedRun], Any]:
        """Return the measured runs with their kernels, and the graph that the runtime made.

        Temporary files need about the size of the model.

        Raises
        ------
        ModelError, RunError
            If a run fails, or its trace cannot be used.
        """
        with self._traced(feeds) as (trace, optimised):
            return read_trace(trace, runs=self.repetitions), optimised.graph

    def look(self, feeds: Mapping[str, Any]) -> tuple[Shapes, Any]:
        """Return what each kernel makes, and the model that the runtime made; one run.

        Raises
        ------
        ModelError, RunError
            As :meth:`trace`.
        """
        with replace(self, warmup=0, repetitions=1)._traced(feeds) as (trace, optimised):
            return read_shapes(trace), optimised

    @contextmanager
    def _traced(self, feeds: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
        """Run with tracing; give the trace file and the optimised model."""
        import onnx

        with tempfile.TemporaryDirectory(prefix="stagewright-") as name:
            folder = Path(name)
            options = session_options(self.threads, self.level, profile_dir=folder)
            options.optimized_model_filepath = str(folder / "optimised.onnx")
            for key, value in (("file_name", "optimised.bin"), ("min_size_in_bytes", "1024")):
                options.add_session_config_entry(
                    f"session.optimized_model_external_initializers_{key}", value
                )
            session = self.session(options)
            self.time(session, feeds)
            trace = Path(session.end_profiling())
            yield trace, onnx.load(folder / "optimised.onnx", load_external_data=False)

    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Turn the runtime's own exceptions into one of ours that names the model."""
        try:
            return action()
        except Exception as error:  # the runtime's exceptions share no other base
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                str(self.path),
                "a model that onnxruntime runs on the given inputs",
                lines[0],
                "Check the shapes (--shape, --dim), or give the inputs themselves.",
            ) from error
