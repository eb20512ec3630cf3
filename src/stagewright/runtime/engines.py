# SPDX-License-Identifier: Apache-2.0
"""What keeps the stages running, seen from the caller; and the simplest: one thread per stage.

The seam for other engines (processes here, actors on other machines) is :class:`Engine`.  It takes items
in order through `feeds` and gives them in order through `results`: one message per item on every channel,
be it the item's values or, from :meth:`.channels.Receiver.recv`, an `ItemFailedError` for an item whose
computation raised.  A fault of the engine itself (a stage died, or stalled) is noted in `failure`, then
the channels close: whoever waits meets `ChannelClosedError` and asks `failure` why.  After that the
engine either stays down, or :meth:`Engine.revive` makes it ready for the items that were lost.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import RunError
from .channels import ChannelClosedError, LocalChannel, Receiver, Sender
from .session import StageSession
from .stage_loop import RECORDS_BYTES, StageSettings, StalledError, Times, pin, run_stage
from .stalls import Watch
from .wiring import OUTSIDE, Route

__all__ = ["Engine", "Failure", "MakeEngine", "News", "ThreadEngine"]


@dataclass(frozen=True)
class News:
    """What went wrong: the text for the user; the stage; the item in its hands.

    `item` counts the items fed since the engine started or was revived; None if the stage had none.
    """

    text: str
    stage: int | None = None
    item: int | None = None


class Failure:
    """The first thing that went wrong, if anything did."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._news = News("")

    def set(self, text: str, stage: int | None = None, item: int | None = None) -> bool:
        """Note a fault; tell whether it was the first."""
        with self._lock:
            if self._set.is_set():
                return False
            self._news = News(text, stage, item)
            self._set.set()
            return True

    def clear(self) -> None:
        """Forget it: the engine was revived."""
        with self._lock:
            self._news = News("")
            self._set.clear()

    def check(self) -> None:
        """Raise RunError if something went wrong."""
        if self._set.is_set():
            raise RunError(self._news.text)

    def news(self, timeout: float) -> News:
        """Return the fault, waiting until it is known.

        A channel may close a moment before the reason arrives.
        """
        self._set.wait(timeout)
        return self._news if self._news.text else News("the pipeline ended and did not say why")


class Engine(Protocol):
    """Running stages.

    `feeds` are the channels into the stages, `results` those out of them, by rising stage; `times` holds
    the times of each stage (:class:`.stage_loop.Times`; an engine elsewhere fills its own).  The caller
    uses feeds from one thread at a time, and results from one.
    """

    failure: Failure

    @property
    def feeds(self) -> Sequence[Sender]:
        """The channels into the stages, by rising stage."""

    @property
    def results(self) -> Sequence[Receiver]:
        """The channels out of the stages, by rising stage."""

    @property
    def times(self) -> Sequence[Times]:
        """The times of each stage."""

    def revive(self) -> None:
        """After a failure: start what is gone and connect all stages anew.

        Nobody uses the channels meanwhile; `feeds` and `results` are others afterwards, `failure` is
        clear, and whatever was inside is forgotten.

        Raises
        ------
        RunError
            If the engine cannot start again.
        """

    def kill(self) -> None:
        """End all stages as soon as possible; waits for nothing."""

    def close(self) -> None:
        """End all stages and wait until they have ended."""


MakeEngine = Callable[[Sequence[StageSettings], Sequence[Route], int], Engine]
"""What starts an engine: the stages, who sends what to whom, and how often in a row a stage that dies is
started again (0: never; the engine then ends all stages at the first fault, so that all hear at once)."""


class ThreadEngine:
    """One thread per stage; the computation itself runs in parallel, Python code does not.

    A thread cannot be ended from outside.  A stage that stalls is asked to end at its next operator and
    the item fails alone; one that does not hear ends the pipeline.
    """

    def __init__(
        self, stages: Sequence[StageSettings], routes: Sequence[Route], restart: int = 0
    ) -> None:
        self.failure = Failure()
        self.times: Sequence[Times] = [Times(bytearray(RECORDS_BYTES)) for _ in stages]
        self._channels = [LocalChannel(route) for route in routes]
        self.feeds: Sequence[Sender] = [c for c in self._channels if c.route.source == OUTSIDE]
        self.results: Sequence[Receiver] = [c for c in self._channels if c.route.target == OUTSIDE]
        self._ready = [threading.Event() for _ in stages]
        self._sessions: list[StageSession | None] = [None] * len(stages)
        self._stalled: dict[int, str] = {}
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._stage, args=(i, s), name=f"stage {i}", daemon=True)
            for i, s in enumerate(stages)
        ]
        for thread in self._threads:
            thread.start()
        for event in self._ready:
            event.wait()
        try:
            self.failure.check()
        except RunError:
            self.close()
            raise
        self._watch = Watch([s.stall_after for s in stages], routes, self)
        self._monitor = threading.Thread(target=self._look, name="pipeline monitor", daemon=True)
        self._monitor.start()

    def _stage(self, number: int, settings: StageSettings) -> None:
        try:
            pin(settings.cores)
            session = StageSession(
                settings.path, settings.threads, settings.level, settings.provider
            )
            self._sessions[number] = session

            def compute(feeds: Any, into: Any) -> Any:
                try:
                    return session(feeds, into)
                except Exception:
                    if number in self._stalled:
                        raise StalledError(self._stalled[number]) from None
                    raise
                finally:
                    if self._stalled.pop(number, "") and not self._closing.is_set():
                        session.terminate(now=False)

            receivers = [c for c in self._channels if c.route.target == number]
            senders = [c for c in self._channels if c.route.source == number]
            self._ready[number].set()
            with contextlib.suppress(ChannelClosedError):
                run_stage(number, compute, receivers, senders, self.times[number])
        except BaseException as fault:  # noqa: BLE001  # it must reach the caller, not stderr
            self.failure.set(f"stage {number} failed: {type(fault).__name__}: {fault}".strip())
            self.kill()
        finally:
            self._ready[number].set()

    def _look(self) -> None:
        """Look for stages that do not move, until the end."""
        while not self._closing.wait(self._watch.interval):
            for number, text in self._watch.stalled():
                session = self._sessions[number]
                if number in self._stalled or session is None:
                    self.failure.set(f"stage {number} stalled: {text}", number)
                    self.kill()
                    return
                self._stalled[number] = text
                session.terminate(now=True)

    def revive(self) -> None:
        """Raise RunError: a thread that is stuck cannot be ended."""
        raise RunError(self.failure.news(0).text)

    def kill(self) -> None:
        """Close every channel, and end computations at their next operator."""
        self._closing.set()
        for channel in self._channels:
            channel.close()
        for session in self._sessions:
            if session is not None:
                session.terminate(now=True)

    def close(self) -> None:
        """End all stages; an operator under way is waited for."""
        self.kill()
        for thread in self._threads:
            thread.join()
        if hasattr(self, "_monitor"):
            self._monitor.join()
