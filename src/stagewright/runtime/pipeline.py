# SPDX-License-Identifier: Apache-2.0
"""A running pipeline of stage files."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np

from ..errors import InputError, RunError
from ..splitting.manifest import MODEL_INPUT, MODEL_OUTPUT, Manifest
from .batching import Batches, joined
from .engines import Engine, MakeEngine, ThreadEngine
from .history import RunHistory
from .inputs import checked_inputs
from .outputs import as_outputs
from .processes import ProcessEngine
from .requests import Requests
from .settings import stage_settings
from .stats import Lately, PipelineStats, lately, summary
from .wiring import routes_of

if TYPE_CHECKING:
    from .asynchronous import AsyncSide

__all__ = ["Pipeline"]

_KEPT_ITEMS: Final = 65536
# How often someone who waits for the caller's iterator looks whether the pipeline still works.
_LOOK_SECONDS: Final = 0.1
_CLOSE_SECONDS: Final = 2.0
_LATELY: Final = 64  # items

Outputs = dict[str, Any]


@dataclass(frozen=True)
class _End:
    """No more items; the fault that ended them, if one did."""

    fault: BaseException | None = None


class _Stream:
    """What a map and its feeder share: items fed in order, and how many more may be."""

    def __init__(self, window: int) -> None:
        self.fed: SimpleQueue[Future[Outputs] | _End] = SimpleQueue()
        self.room = threading.Semaphore(window)
        self.stopped = threading.Event()

    def stop(self) -> None:
        """Feed nothing more, though the caller's iterator may never give another item."""
        self.stopped.set()
        self.room.release()


class Pipeline:
    """Runs a folder of stage files, several items at a time.

    Use it as a context manager: leaving it ends every worker.  All methods may be called from several
    threads; items enter in the order of the calls.

    Parameters
    ----------
    folder
        What ``stagewright split`` wrote.
    threads
        Threads per stage for one operator.
    engine
        ``process``: one process per stage; ``thread``: one thread per stage; ``ray``: one actor per stage on
        the Ray cluster that this machine belongs to; or what makes another engine
        (:data:`.engines.MakeEngine`), such as :func:`.ray_engine.ray_engine` for a cluster elsewhere.
    depth
        Items that may wait between neighbouring stages, >= 1.
    level
        Graph optimisation level of onnxruntime.
    pin_cores
        Keep stage i on core i (modulo their number), where the system can.
    restart
        How often in a row a stage that died or stalled is started again, and how often an item may be in
        its hands then; what was inside is computed again.  0: every item inside fails, and the pipeline
        is down.
    stall_after
        Seconds after which a stage that could move and does not is ended; None for 60, or 1000 times
        its predicted time if that is more.
    microbatch
        Cut each request along its first axis into parts of so many rows; None: one part.
    provider
        Where stages compute: ``cpu``, or ``cuda`` where onnxruntime has it.

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
        engine: Literal["process", "thread", "ray"] | MakeEngine = "process",
        depth: int = 2,
        level: str = "all",
        pin_cores: bool = True,
        restart: int = 0,
        stall_after: float | None = None,
        microbatch: int | None = None,
        provider: str = "cpu",
    ) -> None:
        _check_whole("threads", threads, 1)
        _check_whole("depth", depth, 1)
        _check_whole("restart", restart, 0)
        if stall_after is not None and not stall_after > 0:
            raise InputError("stall_after", "seconds > 0", repr(stall_after))
        make = _maker(engine)
        self.manifest = Manifest.load(folder)
        self._through = [
            t.name
            for t in self.manifest.tensors
            if t.source == MODEL_INPUT and MODEL_OUTPUT in t.targets
        ]
        self._inputs = self.manifest.inputs
        self._batches: Batches | None = None
        if microbatch is not None:
            _check_whole("microbatch", microbatch, 1)
            self._batches = Batches(self._inputs, self.manifest.outputs, microbatch)
            self._inputs = self._batches.inputs
        self._closed = False
        self._streams: weakref.WeakSet[_Stream] = weakref.WeakSet()
        self._feeders: list[threading.Thread] = []
        self._async: AsyncSide | None = None
        self._done: deque[tuple[float, float]] = deque(maxlen=_KEPT_ITEMS)
        settings = stage_settings(
            self.manifest,
            Path(folder),
            threads,
            level,
            pin_cores=pin_cores,
            provider=provider,
            stall_after=stall_after,
        )
        # Other processes get copies anyway, unless an item may have to go in twice.
        self._copies_all = engine == "thread" or restart > 0
        self._folder = str(folder)
        self._routes = routes_of(self.manifest, depth)
        # More than fits inside, so that this alone keeps no stage waiting.
        self._window = depth * (len(settings) + 1) + len(settings) + 2
        self._engine: Engine = make(settings, self._routes, restart)
        self._requests = Requests(self._engine, restart, self._done.append)
        # A pipeline that nobody closed still ends its workers.
        weakref.finalize(self, self._requests.abandon)

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

    @property
    def faults(self) -> tuple[str, ...]:
        """What went wrong so far, one line per stage that died or stalled."""
        return tuple(news.text for news in self._requests.news)

    def run(self, inputs: Mapping[str, Any]) -> Outputs:
        """Send one item through and return the model's outputs by name.

        Raises
        ------
        InputError
            If the inputs do not fit the model; the pipeline stays usable.
        RunError
            If a stage raised at this item, failed or died; the text names stage and cause.  After
            a stage raised the pipeline stays usable.
        """
        self._forget_times()
        return self.submit(inputs).result()

    def submit(self, inputs: Mapping[str, Any]) -> Future[Outputs]:
        """Send one item in, waiting while the pipeline is full; return the future of its outputs.

        Errors are those of :meth:`run`; those of stages come from the future.
        """
        self._check_open()
        values = checked_inputs(self._inputs, inputs)
        if self._batches is None:
            return self._submit(values)
        return joined([self._submit(part) for part in self._batches.parts(values)])

    def _submit(self, values: Mapping[str, Any]) -> Future[Outputs]:
        # What goes in must stay as it is, whatever the caller does with his arrays.
        kept = values if self._copies_all else self._through
        values = {**values, **{name: _copy(values[name]) for name in kept}}
        through = {name: values[name] for name in self._through}
        return self._requests.submit(values, through, self._outputs)

    def _outputs(self, values: Mapping[str, Any]) -> Outputs:
        return as_outputs(self.manifest.outputs, values)

    def map(
        self, items: Iterable[Mapping[str, Any]], *, on_error: Literal["raise", "yield"] = "raise"
    ) -> Generator[Any, None, None]:
        """Send items through and yield the outputs of each, in order, as they come.

        `items` is read in a thread of its own, as far ahead as the pipeline has room.

        Parameters
        ----------
        items
            Inputs by name.
        on_error
            ``raise`` ends the stream at the first item that failed; ``yield`` gives the error in the
            place of its outputs and goes on, unless the pipeline is down.

        Raises
        ------
        InputError
            If an item does not fit the model, after the outputs of those before it.
        RunError
            As of :meth:`run`.
        """
        if on_error not in ("raise", "yield"):
            raise InputError("on_error", "'raise' or 'yield'", repr(on_error))
        self._check_open()
        self._forget_times()
        stream = _Stream(self._window)
        self._streams.add(stream)
        feeder = threading.Thread(
            target=self._feed, args=(iter(items), stream), name="feeder", daemon=True
        )
        self._feeders = [t for t in self._feeders if t.is_alive()] + [feeder]
        feeder.start()
        try:
            while isinstance(token := self._next_token(stream), Future):
                fault = token.exception()
                if fault is not None and (on_error == "raise" or not isinstance(fault, RunError)):
                    raise fault
                stream.room.release()
                yield token.result() if fault is None else fault
        finally:
            stream.stop()
        if token.fault is not None:
            raise token.fault

    def _next_token(self, stream: _Stream) -> Future[Outputs] | _End:
        """Wait for the feeder, but not past the end of the pipeline."""
        while True:
            try:
                return stream.fed.get(timeout=_LOOK_SECONDS)
            except Empty:
                self._check_open()

    def _feed(self, items: Iterator[Mapping[str, Any]], stream: _Stream) -> None:
        """Send items until they end, the caller stops, or the pipeline is down; runs in a thread."""
        try:
            for item in items:
                stream.room.acquire()
                if stream.stopped.is_set():
                    break
                stream.fed.put(self.submit(item))
        except BaseException as fault:  # noqa: BLE001  # it is raised again where map is used
            stream.fed.put(_End(fault))
        else:
            stream.fed.put(_End())

    async def run_async(self, inputs: Mapping[str, Any]) -> Outputs:
        """Send one item through, as :meth:`run`, from a coroutine."""
        return await self._async_side().run(inputs)

    def map_async(
        self, items: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
    ) -> AsyncGenerator[Outputs, None]:
        """Send items through, as :meth:`map`, from a coroutine: ``async for outputs in ...``."""
        self._check_open()
        return self._async_side().map(items, self._window)

    def _async_side(self) -> AsyncSide:
        if self._async is None:
            from .asynchronous import AsyncSide

            self._async = AsyncSide(self.submit)
        return self._async

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("pipeline", "an open pipeline", "a closed one")
        self._requests.check()

    def _forget_times(self) -> None:
        if not self._requests.count:
            self._done.clear()

    def stats(self) -> PipelineStats:
        """Return times of the last map or run, and of the last items of each stage."""
        return summary([t.last() for t in self._engine.times], list(self._done))

    def lately(self) -> Lately:
        """Return what the last items show; may be asked for at any time, from any thread."""
        rows = [t.last()[-_LATELY:] for t in self._engine.times]
        return lately(rows, list(islice(reversed(self._done), _LATELY)))

    def history(self, skipped: int = 0) -> RunHistory:
        """Return when each stage did what with the last items, but for the first `skipped` ever.

        After a restart items are counted anew.
        """
        files = [stage.file for stage in self.manifest.stages]
        kept = [(t.count, t.last()) for t in self._engine.times]
        numbered = [(count - len(rows), rows) for count, rows in kept]
        return RunHistory.of(self._folder, files, self._routes, numbered, skipped)

    def drain(self) -> None:
        """Wait until every item that was sent in has come out or failed."""
        self._requests.drain()

    def close(self) -> None:
        """End every worker; items inside fail.  Idempotent."""
        if self._closed:
            return
        self._closed = True
        for stream in list(self._streams):
            stream.stop()
        self._requests.close()
        for feeder in self._feeders:
            # It may be waiting for the caller's iterator, for ever.
            feeder.join(_CLOSE_SECONDS if feeder is not threading.current_thread() else 0)
        if self._async is not None:
            self._async.close()


def _maker(engine: str | MakeEngine) -> MakeEngine:
    if callable(engine):
        return engine
    if engine == "ray":
        from .ray_engine import ray_engine

        return ray_engine()
    if engine not in ("process", "thread"):
        raise InputError("engine", "'process', 'thread' or 'ray'", repr(engine))
    return ProcessEngine if engine == "process" else ThreadEngine


def _check_whole(what: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(what, f"a whole number >= {least}", repr(value))


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value
