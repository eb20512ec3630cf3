# SPDX-License-Identifier: Apache-2.0
"""Stages as Ray actors that hand items on as objects of Ray.

An item is one call per stage; what a stage returns is handed by reference to the stages that read it, so that
tensors go from machine to machine without passing the caller, and are mapped, not copied, where both stages
share one.  Ray keeps the calls of an actor in order.  Faults are Ray's to mend: an actor whose process or machine
dies is started again where there is room, and the calls that were lost are made again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any

import numpy.typing as npt

from ..errors import RunError
from ..raylink import cluster
from .channels import ChannelClosedError, ItemFailedError, Receiver, Sender
from .engines import Failure
from .ray_actor import FailedItem, StageActor
from .ray_start import LOOK_SECONDS, PURPOSE, Placement, reason, start_actors, wait_until_ready
from .stage_loop import RECORDS_BYTES, StageSettings, Times
from .wiring import OUTSIDE, Route

__all__ = ["ObjectEngine"]

_Key = tuple[int, int]
"""The source and the target of a route."""


@dataclass(frozen=True)
class _Item:
    """The references that an item's calls returned: a row per stage, and values per route out of the pipeline."""

    rows: list[Any]
    outputs: dict[_Key, Any]


class _Feed:
    """The giving end of a route into the stages."""

    def __init__(self, route: Route, engine: ObjectEngine, last: bool) -> None:
        self.route, self._engine, self._last = route, engine, last
        self.waited, self.sent = 0.0, 0

    def room(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return nothing: values travel as they are."""
        return {}

    def send(self, values: Sequence[Any]) -> None:
        """Hand over values; with those of the last route the item sets out, when there is room."""
        self.sent += 1
        self._engine.pending[_key(self.route)] = list(values)
        if self._last:
            start = perf_counter()
            self._engine.submit()
            self.waited += perf_counter() - start

    def fail(self, text: str) -> None:
        """Hand over the news that an item failed."""
        self.send([FailedItem(text)])

    def close(self) -> None:
        """Nothing is held."""


class _Result:
    """The taking end of a route out of the stages."""

    def __init__(self, route: Route, engine: ObjectEngine, last: bool) -> None:
        self.route, self._engine, self._last = route, engine, last
        self.released = 0

    def recv(self) -> list[Any]:
        """Wait for the values of the next item."""
        values = self._engine.value_of(self.released, self.route)
        if isinstance(values, FailedItem):
            raise ItemFailedError(values.text)
        return list(values)

    def release(self) -> None:
        """Count the item; with the last route its place is free."""
        self.released += 1
        if self._last:
            self._engine.finish()

    def close(self) -> None:
        """Nothing is held."""


class ObjectEngine:
    """One actor per stage, and a call per item and stage.

    Parameters
    ----------
    stages, routes, restart
        As of :data:`.engines.MakeEngine`.
    placement
        Where the actors run.

    Raises
    ------
    RunError
        If a stage does not start.
    """

    def __init__(
        self,
        stages: Sequence[StageSettings],
        routes: Sequence[Route],
        restart: int,
        placement: Placement,
    ) -> None:
        self.failure = Failure()
        self.times: Sequence[Times] = [Times(bytearray(RECORDS_BYTES)) for _ in stages]
        self.pending: dict[_Key, list[Any]] = {}
        self._stages, self._routes, self._restart = stages, routes, restart
        self._into = [[r for r in routes if r.target == i] for i in range(len(stages))]
        self._out_of = [[r for r in routes if r.source == i] for i in range(len(stages))]
        into = [r for r in routes if r.source == OUTSIDE]
        out = [r for r in routes if r.target == OUTSIDE]
        self.feeds: Sequence[Sender] = [_Feed(r, self, r is into[-1]) for r in into]
        self.results: Sequence[Receiver] = [_Result(r, self, r is out[-1]) for r in out]
        self._window = sum(max(r.slots for r in rs) for rs in self._into) + len(stages)
        self._items: deque[_Item] = deque()
        self._first = 0
        self._changed = threading.Condition()
        self._closed = False
        self._idle_since = [0.0] * len(stages)
        self._epoch = time.time() - perf_counter()
        self._actors: list[Any] = []
        self._stack = ExitStack()
        self._ray = self._stack.enter_context(cluster(placement.address, PURPOSE))
        try:
            self._start(placement)
        except BaseException:
            self.close()
            raise

    def _start(self, placement: Placement) -> None:
        options = {
            "max_restarts": self._restart,
            # Restarts are counted, so that calls need not be: one death takes several of their tries.
            "max_task_retries": -1 if self._restart else 0,
            "max_concurrency": 1,
        }
        start_actors(
            self._ray, StageActor, self._stages, self._routes, placement, options, self._actors
        )
        self._calls = [
            actor.run.options(num_returns=1 + len(out_of))
            for actor, out_of in zip(self._actors, self._out_of, strict=True)
        ]
        ready = [actor.ready.remote() for actor in self._actors]
        wait_until_ready(self._ray, ready, placement.start_seconds)

    # --- items ---------------------------------------------------------------------------------

    def submit(self) -> None:
        """Make an item's calls, when fewer are under way than the queues would hold."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._window)
            if self._closed:
                raise ChannelClosedError
        values: dict[_Key, Any] = dict(self.pending)
        rows = []
        for number, call in enumerate(self._calls):
            try:
                returned = call.remote(*(values[_key(r)] for r in self._into[number]))
            except self._ray.exceptions.RayError as fault:
                self._fail(number, fault)
                raise ChannelClosedError from None
            row, *parts = returned if isinstance(returned, list) else [returned]
            rows.append(row)
            values.update(zip(map(_key, self._out_of[number]), parts, strict=True))
        item = _Item(rows, {k: v for k, v in values.items() if k[1] == OUTSIDE})
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def value_of(self, number: int, route: Route) -> Any:
        """Wait for what an item gives on a route out of the pipeline."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or number - self._first < len(self._items))
            if self._closed:
                raise ChannelClosedError
            item = self._items[number - self._first]
        while not self._closed:
            # Waiting brings what is far away here as soon as it is made.  Asking for it when it is not yet
            # there costs a tenth of a second and more in Ray, for it looks again by a slow clock.
            with self._changed:
                later = list(islice(self._items, number - self._first, None))
            waiting = [other.outputs[_key(route)] for other in later]
            try:
                ready, _ = self._ray.wait(waiting, timeout=self._interval)
                if ready:
                    return self._ray.get(item.outputs[_key(route)], timeout=self._interval)
            except self._ray.exceptions.GetTimeoutError:
                pass
            except self._ray.exceptions.RayError as fault:
                self._fail(self._culprit(item), fault)
                break
            self._look(item)
        raise ChannelClosedError

    @property
    def _interval(self) -> float:
        return min(LOOK_SECONDS, min(s.stall_after for s in self._stages) / 5)

    def finish(self) -> None:
        """Note the times of the first item and give its place back."""
        item = self._items[0]
        with suppress(self._ray.exceptions.RayError):
            for times, row in zip(self.times, self._ray.get(item.rows), strict=True):
                ready, received, computed = (second - self._epoch for second in row)
                # Ray hands results on after the call, unseen: no time for sending.
                times.add(ready, received, computed, computed, computed)
        with self._changed:
            self._items.popleft()
            self._first += 1
            self._changed.notify_all()

    # --- faults --------------------------------------------------------------------------------

    def _culprit(self, item: _Item) -> int:
        """Return the first stage whose call for an item failed."""
        for number, row in enumerate(item.rows):
            try:
                self._ray.get(row, timeout=LOOK_SECONDS)
            except self._ray.exceptions.RayError:
                return number
        return len(item.rows) - 1

    def _look(self, item: _Item) -> None:
        """End a stage that has had the first item, and nothing else to wait for, longer than it may."""
        done, _ = self._ray.wait(item.rows, num_returns=len(item.rows), timeout=0)
        finished = set(done)
        number = next((i for i, row in enumerate(item.rows) if row not in finished), None)
        now = perf_counter()
        if number is None or self._seen != (id(item), number):
            self._seen, self._since = (id(item), number), now
            return
        limit = self._stages[number].stall_after
        if now - self._since < limit:
            return
        self._since = now
        text = f"no result within {limit:g} s"
        if not self._restart:
            self._fail(number, None, f"stage {number} stalled: {text}")
        else:
            self._ray.kill(self._actors[number], no_restart=False)

    _seen: tuple[int, int | None] = (0, None)
    _since = 0.0

    def _fail(self, number: int, fault: Exception | None, text: str = "") -> None:
        if not self._closed:
            self.failure.set(text or f"stage {number} died: {reason(fault)}", number)
        self.kill()

    def revive(self) -> None:
        """Raise RunError: Ray has started the stage again as often as it may.

        Raises
        ------
        RunError
            Always.
        """
        raise RunError(self.failure.news(0).text)

    def kill(self) -> None:
        """End all actors; whoever waits for an item is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # Once the cluster was left, the first call would start another.
        actors, self._actors = self._actors, []
        for actor in actors if self._ray.is_initialized() else ():
            with suppress(Exception):  # it may be gone, or the cluster
                self._ray.kill(actor)

    def close(self) -> None:
        """End all actors, and leave the cluster if this engine joined it."""
        self.kill()
        self._items.clear()
        self._stack.close()


def _key(route: Route) -> _Key:
    return route.source, route.target
