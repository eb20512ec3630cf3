# SPDX-License-Identifier: Apache-2.0
"""How the stages are kept running: one process each, or one thread each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Protocol

from ..errors import RunError
from .channels import ChannelClosedError, LocalChannel, Receiver, Sender
from .stage_loop import RECORDS_BYTES, StageSettings, Times, open_session, pin, run_stage
from .wiring import OUTSIDE, Route

__all__ = ["Engine", "Failure", "ThreadEngine"]


class Failure:
    """The first thing that went wrong, if anything did."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._text = ""

    def set(self, text: str) -> bool:
        """Note a fault; tell whether it was the first."""
        with self._lock:
            if self._set.is_set():
                return False
            self._text = text
            self._set.set()
            return True

    def check(self) -> None:
        """Raise RunError if something went wrong."""
        if self._set.is_set():
            raise RunError(self._text)

    def error(self, timeout: float) -> RunError:
        """Return the fault as an error, waiting until it is known.

        A channel may close a moment before the reason arrives.
        """
        self._set.wait(timeout)
        return RunError(self._text or "the pipeline ended and did not say why")


class Engine(Protocol):
    """Running stages, seen from the caller."""

    feeds: Sequence[Sender]
    results: Sequence[Receiver]
    times: Sequence[Times]
    failure: Failure

    def kill(self) -> None:
        """End all stages as soon as possible; waits for nothing."""

    def close(self) -> None:
        """End all stages and wait until they have ended."""


class ThreadEngine:
    """One thread per stage; the computation itself runs in parallel, Python code does not."""

    def __init__(self, stages: Sequence[StageSettings], routes: Sequence[Route]) -> None:
        self.failure = Failure()
        self.times: Sequence[Times] = [Times(bytearray(RECORDS_BYTES)) for _ in stages]
        self._channels = [LocalChannel(route) for route in routes]
        self.feeds: Sequence[Sender] = [c for c in self._channels if c.route.source == OUTSIDE]
        self.results: Sequence[Receiver] = [c for c in self._channels if c.route.target == OUTSIDE]
        self._ready = [threading.Event() for _ in stages]
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

    def _stage(self, number: int, settings: StageSettings) -> None:
        try:
            pin(settings.cores)
            session = open_session(settings.path, settings.threads, settings.level)
            receivers = [c for c in self._channels if c.route.target == number]
            senders = [c for c in self._channels if c.route.source == number]
            self._ready[number].set()
            with contextlib.suppress(ChannelClosedError):
                run_stage(session.run, settings.outputs, receivers, senders, self.times[number])
        except BaseException as fault:  # noqa: BLE001  # it must reach the caller, not stderr
            self.failure.set(f"stage {number} failed: {type(fault).__name__}: {fault}".strip())
            self.kill()
        finally:
            self._ready[number].set()

    def kill(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            channel.close()

    def close(self) -> None:
        """End all stages; a computation under way is waited for."""
        self.kill()
        for thread in self._threads:
            thread.join()
