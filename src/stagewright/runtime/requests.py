# SPDX-License-Identifier: Apache-2.0
"""Items on their way through an engine: in order, none lost, whatever fails.

Whoever submits an item feeds it himself and so waits while the pipeline is full; one thread takes results
out and completes futures.  When the engine fails, either all items inside get the news at once, or the
engine is revived and they are fed again, in order.  The item that a stage had in its hands when it died is
suspected: after as many deaths as restarts are allowed it fails alone, and the others go on without it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from ..errors import InputError, RunError
from .channels import ChannelClosedError, ItemFailedError
from .engines import Engine, News

__all__ = ["Requests"]

# How long a closed channel waits for the news of what closed it.
_CAUSE_SECONDS: Final = 2.0

Outputs = dict[str, Any]


@dataclass(eq=False)
class _Request:
    """An item: what goes in (kept only if it may have to go in again), and who waits for it."""

    values: Mapping[str, Any] | None
    through: Mapping[str, Any]
    finish: Callable[[Outputs], Outputs]
    entered: float
    future: Future[Outputs] = field(default_factory=Future)
    deaths: int = 0


class Requests:
    """Feeds an engine and collects from it.

    Parameters
    ----------
    engine
        Where items are computed.
    restart
        How often in a row a stage is started again; an item may be in the hands of a dying stage as
        often.
    done
        Gets (entered, left) of each completed item; seconds.
    """

    def __init__(
        self, engine: Engine, restart: int, done: Callable[[tuple[float, float]], None]
    ) -> None:
        self._engine, self._restart, self._done = engine, restart, done
        self._inside: deque[_Request] = deque()
        self._changed = threading.Condition()
        # Held while an item is fed; whoever mends the engine takes it first.
        self._feeding = threading.Lock()
        self._collected = 0
        self._closing = False
        self._down: RunError | None = None
        self.news: list[News] = []
        self._collector = threading.Thread(target=self._collect, name="collector", daemon=True)
        self._collector.start()

    @property
    def count(self) -> int:
        """Items inside."""
        return len(self._inside)

    def submit(
        self,
        values: Mapping[str, Any],
        through: Mapping[str, Any],
        finish: Callable[[Outputs], Outputs],
    ) -> Future[Outputs]:
        """Feed one item, waiting while the pipeline is full; return the future of its outputs.

        Parameters
        ----------
        values
            Inputs as they travel.  Not changed by anybody until the future is done.
        through
            Inputs that are outputs, too.
        finish
            Makes the caller's outputs of all that came out; called in the collecting thread.

        Raises
        ------
        RunError
            If the pipeline is down.
        InputError
            If it is closed.
        """
        with self._feeding:
            kept = values if self._restart else None
            request = _Request(kept, through, finish, perf_counter())
            request.future.set_running_or_notify_cancel()
            with self._changed:
                self.check()
                self._inside.append(request)
                self._changed.notify_all()
            try:
                self._feed(values)
            except ChannelClosedError:
                pass  # the collector meets it too: it says why, or has the item fed again
            except BaseException:
                # Some stages may have the item and others not; nothing behind it could be trusted.
                self._engine.failure.set("an earlier run was interrupted while its item was fed")
                self._engine.kill()
                raise
        return request.future

    def _feed(self, values: Mapping[str, Any]) -> None:
        for sender in self._engine.feeds:
            sender.send([values[name] for name in sender.route.names])

    def check(self) -> None:
        """Raise RunError if the pipeline is down for good, InputError if it is closed."""
        if self._down is not None:
            raise RunError(str(self._down))
        if self._closing:
            raise InputError("pipeline", "an open pipeline", "a closed one")
        if not self._restart:
            self._engine.failure.check()

    def _collect(self) -> None:
        """Complete items until the pipeline closes or is down; runs in a thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._inside or self._closing)
                if not self._inside:
                    return
                request = self._inside[0]
            try:
                outputs: Outputs | RunError = self._receive(request)
            except ChannelClosedError:
                if self._mend():
                    continue
                return
            except Exception as fault:  # noqa: BLE001  # who waits for the item must learn of it
                outputs = RunError(f"outputs cannot be read: {type(fault).__name__}: {fault}")
            self._collected += 1
            with self._changed:
                self._inside.popleft()
                self._changed.notify_all()
            self._complete(request, outputs)

    def _receive(self, request: _Request) -> Outputs | RunError:
        outputs, failed = dict(request.through), ""
        for receiver in self._engine.results:
            try:
                values = receiver.recv()
            except ItemFailedError as fault:
                failed = failed or str(fault)
            else:
                if not failed:
                    outputs.update(zip(receiver.route.names, map(_own, values), strict=True))
            receiver.release()
        return RunError(failed) if failed else request.finish(outputs)

    def _complete(self, request: _Request, outputs: Outputs | RunError) -> None:
        if isinstance(outputs, RunError):
            request.future.set_exception(outputs)
            return
        self._done((request.entered, perf_counter()))
        request.future.set_result(outputs)

    def _mend(self) -> bool:
        """Have the engine revived and what was inside fed again; False: all inside have failed."""
        if self._closing:
            return self._give_up("the pipeline was closed")
        news = self._engine.failure.news(_CAUSE_SECONDS)
        self.news.append(news)
        if not self._restart:
            return self._give_up(news.text)
        # Whoever feeds finds his channel closed, and lets go.
        self._feeding.acquire()  # the one who feeds again lets go of it
        try:
            self._suspect(news)
            self._engine.revive()
        except RunError as fault:
            self._feeding.release()
            return self._give_up(str(fault))
        except BaseException as fault:  # noqa: BLE001  # nobody may wait for ever
            self._feeding.release()
            return self._give_up(f"the restart failed: {type(fault).__name__}: {fault}")
        self._collected = 0
        again = list(self._inside)
        threading.Thread(target=self._feed_again, args=(again,), daemon=True).start()
        return True

    def _suspect(self, news: News) -> None:
        """Fail the item that a dying stage had in its hands too often."""
        if news.item is None or not 0 <= (place := news.item - self._collected) < self.count:
            return
        request = self._inside[place]
        request.deaths += 1
        if request.deaths > self._restart:
            with self._changed:
                self._inside.remove(request)
            times = "once" if request.deaths == 1 else f"{request.deaths} times"
            request.future.set_exception(RunError(f"{news.text}, {times} with the same item"))

    def _feed_again(self, requests: list[_Request]) -> None:
        try:
            for request in requests:
                self._feed(request.values or {})
        except ChannelClosedError:
            pass  # the collector meets it too
        finally:
            self._feeding.release()

    def _give_up(self, text: str) -> bool:
        self._down = RunError(text)
        self._engine.kill()
        with self._changed:
            lost = list(self._inside)
            self._inside.clear()
            self._closing = True
            self._changed.notify_all()
        for request in lost:
            request.future.set_exception(RunError(text))
        return False

    def drain(self) -> None:
        """Wait until nothing is inside."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside)

    def abandon(self) -> None:
        """End the engine and let everyone who waits know; waits for nothing."""
        self._closing = True
        self._engine.kill()
        # Not under the lock for ever: this may run in a garbage collection.
        if self._changed.acquire(timeout=1):
            self._changed.notify_all()
            self._changed.release()

    def close(self) -> None:
        """End everything and wait for it; items inside fail."""
        with self._changed:
            self._closing = True
            busy = bool(self._inside)
            self._changed.notify_all()
        if busy:
            self._engine.kill()
        self._collector.join()
        with self._feeding:  # whoever was feeding has let go
            self._engine.close()


def _own(value: Any) -> Any:
    """Copy what lies in a slot that is about to be given back."""
    return value.copy() if hasattr(value, "base") and value.base is not None else value
