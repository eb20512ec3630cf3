# SPDX-License-Identifier: Apache-2.0
"""A running pipeline of stage files."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Literal, Self

import numpy as np

from ..errors import InputError
from ..splitting.manifest import MODEL_INPUT, MODEL_OUTPUT, Manifest
from .channels import ChannelClosedError
from .engines import Engine, ThreadEngine
from .history import RunHistory
from .inputs import checked_inputs
from .processes import ProcessEngine
from .settings import stage_settings
from .stats import PipelineStats, summary
from .wiring import routes_of

__all__ = ["Pipeline"]

# How long a closed channel waits for the news of what closed it.
_CAUSE_SECONDS: Final = 2.0
_KEPT_ITEMS: Final = 65536
# How often someone who waits for the caller's iterator looks whether the pipeline still works.
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True)
class _Entered:
    """An item on its way: when it entered, and the outputs that are inputs handed through."""

    at: float
    through: dict[str, Any]


@dataclass(frozen=True)
class _End:
    """No more items; the fault that ended them, if one did."""

    fault: BaseException | None = None


class _Stream:
    """What a map and its feeder share.

    `sending` is held while an item enters; once `stop` is set, none does.
    """

    def __init__(self) -> None:
        self.entered: SimpleQueue[_Entered | _End] = SimpleQueue()
        self.stop = threading.Event()
        self.sending = threading.Lock()


class Pipeline:
    """Runs a folder of stage files, several items at a time.

    Use it as a context manager: leaving it ends every worker.

    Parameters
    ----------
    folder
        What ``stagewright split`` wrote.
    threads
        Threads per stage for one operator.
    engine
        ``process``: one process per stage; ``thread``: one thread per stage.
    depth
        Items that may wait between neighbouring stages, >= 1.
    level
        Graph optimisation level of onnxruntime.
    pin_cores
        Keep stage i on core i (modulo their number), where the system can.

    Raises
    ------
    InputError
        If the folder or an option cannot be used.
    RunError
        If a stage file cannot be loaded.

    Examples
    --------
    >>> with Pipeline("stages") as pipeline:  # doctest: +SKIP
    ...     outputs = pipeline.run({"x": array})
    ...     for outputs in pipeline.map(batches):
    ...         ...
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        threads: int = 1,
        engine: Literal["process", "thread"] = "process",
        depth: int = 2,
        level: str = "all",
        pin_cores: bool = True,
    ) -> None:
        for what, value in (("threads", threads), ("depth", depth)):
            if not isinstance(value, int) or value < 1:
                raise InputError(what, "a whole number >= 1", repr(value))
        if engine not in ("process", "thread"):
            raise InputError("engine", "'process' or 'thread'", repr(engine))
        self.manifest = Manifest.load(folder)
        self._output_names = [t.name for t in self.manifest.outputs]
        self._through = [
            t.name
            for t in self.manifest.tensors
            if t.source == MODEL_INPUT and MODEL_OUTPUT in t.targets
        ]
        self._busy = threading.Lock()
        self._feeder: threading.Thread | None = None
        self._closed = False
        self._done: deque[tuple[float, float]] = deque(maxlen=_KEPT_ITEMS)
        settings = stage_settings(self.manifest, Path(folder), threads, level, pin_cores=pin_cores)
        kind = ProcessEngine if engine == "process" else ThreadEngine
        self._copies_all = engine == "thread"
        self._folder = str(folder)
        self._routes = routes_of(self.manifest, depth)
        self._engine: Engine = kind(settings, self._routes)
        # A pipeline that nobody closed still ends its workers.
        weakref.finalize(self, self._engine.kill)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._engine.kill()
        self.close()

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Send one item through and return the model's outputs by name.

        Raises
        ------
        InputError
            If the inputs do not fit the model; the pipeline stays usable.
        RunError
            If a stage failed or died, now or before.
        """
        with self._alone():
            values = self._values(inputs)
            self._done.clear()
            token = self._token(values)
            try:
                self._send(values)
                outputs = self._collect(token)
            except ChannelClosedError:
                raise self._engine.failure.error(_CAUSE_SECONDS) from None
            except BaseException:
                self._engine.failure.set("an earlier run was interrupted")
                raise
            self._done.append((token.at, perf_counter()))
            return outputs

    def map(self, items: Iterable[Mapping[str, Any]]) -> Generator[dict[str, Any], None, None]:
        """Send items through and yield the outputs of each, in order, as they come.

        `items` is read in a thread of its own, as far ahead as the pipeline has room.

        Raises
        ------
        InputError
            If an item does not fit the model, after the outputs of those before it; or if another
            `map` or `run` is under way.
        RunError
            If a stage failed or died, now or before.
        """
        with self._alone():
            stream = _Stream()
            self._done.clear()
            self._feeder = threading.Thread(
                target=self._feed, args=(iter(items), stream), name="feeder", daemon=True
            )
            self._feeder.start()
            try:
                while isinstance(token := self._next_token(stream), _Entered):
                    outputs = self._collect(token)
                    self._done.append((token.at, perf_counter()))
                    yield outputs
            except GeneratorExit:
                self._drain(stream)
                raise
            except BaseException:
                # Items may still be inside, so no later one could be told from them.
                self._engine.failure.set("an earlier run was interrupted")
                stream.stop.set()
                raise
            if token.fault is not None:
                raise token.fault

    def _next_token(self, stream: _Stream) -> _Entered | _End:
        """Wait for the feeder, but not past a fault of the pipeline."""
        while True:
            try:
                return stream.entered.get(timeout=_LOOK_SECONDS)
            except Empty:
                self._engine.failure.check()

    def _drain(self, stream: _Stream) -> None:
        """Take out what has entered, or the next item would meet its outputs.

        The caller's iterator may never give another item, so its thread is not waited for.
        """
        stream.stop.set()
        while True:
            try:
                token = stream.entered.get(timeout=_LOOK_SECONDS)
            except Empty:
                if stream.sending.acquire(blocking=False):
                    stream.sending.release()
                    if stream.entered.empty():
                        return
                continue
            if isinstance(token, _End):
                return
            self._collect(token)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse work on a closed or failed pipeline, and two streams at once."""
        if self._closed:
            raise InputError("pipeline", "an open pipeline", "a closed one")
        self._engine.failure.check()
        if not self._busy.acquire(blocking=False):
            raise InputError("pipeline", "one map or run at a time", "a second one")
        try:
            yield
        finally:
            self._busy.release()

    def _send(self, values: Mapping[str, Any]) -> None:
        for sender in self._engine.feeds:
            sender.send([values[name] for name in sender.route.names])

    def _feed(self, items: Iterator[Mapping[str, Any]], stream: _Stream) -> None:
        """Send items until they end, the caller stops, or the pipeline fails; runs in a thread."""
        try:
            for item in items:
                values = self._values(item)
                with stream.sending:
                    if stream.stop.is_set():
                        break
                    stream.entered.put(self._token(values))
                    self._send(values)
        except ChannelClosedError:
            # The collector meets the same closed pipeline and says why.
            stream.entered.put(_End(self._engine.failure.error(_CAUSE_SECONDS)))
        except BaseException as fault:  # noqa: BLE001  # it is raised again where map is used
            stream.entered.put(_End(fault))
        else:
            stream.entered.put(_End())

    def _values(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return checked inputs that stay as they are, whatever the caller does with their arrays."""
        values = checked_inputs(self.manifest.inputs, inputs)
        # Other processes get copies anyway.
        kept = values if self._copies_all else self._through
        return {**values, **{name: _copy(values[name]) for name in kept}}

    def _token(self, values: Mapping[str, Any]) -> _Entered:
        return _Entered(perf_counter(), {name: values[name] for name in self._through})

    def _collect(self, token: _Entered) -> dict[str, Any]:
        outputs = dict(token.through)
        try:
            for receiver in self._engine.results:
                values = receiver.recv()
                outputs.update(zip(receiver.route.names, map(_own, values), strict=True))
                receiver.release()
        except ChannelClosedError:
            raise self._engine.failure.error(_CAUSE_SECONDS) from None
        return {name: outputs[name] for name in self._output_names}

    def stats(self) -> PipelineStats:
        """Return times of the last map or run, and of the last items of each stage."""
        return summary([t.last() for t in self._engine.times], list(self._done))

    def history(self, skipped: int = 0) -> RunHistory:
        """Return when each stage did what with the last items, but for the first `skipped` ever."""
        files = [stage.file for stage in self.manifest.stages]
        kept = [(t.count, t.last()) for t in self._engine.times]
        numbered = [(count - len(rows), rows) for count, rows in kept]
        return RunHistory.of(self._folder, files, self._routes, numbered, skipped)

    def close(self) -> None:
        """End every worker; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._feeder is not None and self._feeder.is_alive():
            # It may be waiting for room; ends may not be closed under a thread that uses them.
            self._engine.kill()
            self._feeder.join(_CAUSE_SECONDS)
        self._engine.close()


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _own(value: Any) -> Any:
    """Copy what lies in a slot that is about to be given back."""
    return value.copy() if isinstance(value, np.ndarray) and value.base is not None else value
