# SPDX-License-Identifier: Apache-2.0
"""What a stage does: take an item, compute, hand it on.  The same in a process and in a thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .channels import ItemFailedError, Receiver, Sender

Compute = Callable[[Mapping[str, Any], Mapping[str, npt.NDArray[Any]]], Mapping[str, Any]]
"""Takes the inputs by name and where outputs may be written; gives all outputs by name."""

__all__ = [
    "RECORDS",
    "RECORDS_BYTES",
    "Compute",
    "StageSettings",
    "StalledError",
    "Times",
    "pin",
    "run_stage",
]

RECORDS: Final = 8192
_COLUMNS: Final = 5
RECORDS_BYTES: Final = 8 * _COLUMNS * (RECORDS + 1)


class StalledError(Exception):
    """A computation was ended from outside, for it took too long."""


@dataclass(frozen=True)
class StageSettings:
    """How a stage computes.

    Parameters
    ----------
    path
        The stage file.
    threads
        Threads of one operator.
    level
        Graph optimisation level of onnxruntime: ``all``, ``basic`` or ``disabled``.
    cores
        The cores it may use; empty for any.
    provider
        ``cpu`` or ``cuda``.
    stall_after
        Seconds after which a stage that does not move counts as stalled.
    """

    path: str
    threads: int
    level: str
    cores: tuple[int, ...]
    provider: str = "cpu"
    stall_after: float = 60.0


class Times:
    """The last times of a stage, written by it and read by the caller; seconds of one clock.

    Row 0 of `memory` (float64[RECORDS + 1, 5]) counts the items sent, taken and computed; the others
    are a ring of (ready, received, computed, cleared, sent).  What sending waited for room, on all
    routes together, lies between computed and cleared, what it copied between cleared and sent.
    """

    def __init__(self, memory: Any, start: int = 0) -> None:
        self._rows: npt.NDArray[np.float64] = np.ndarray(
            (RECORDS + 1, _COLUMNS), np.float64, memory, start
        )

    def take(self) -> None:
        """Note that all inputs of an item are there and it is about to be computed."""
        self._rows[0, 1] += 1

    def compute(self) -> None:
        """Note that the item is computed and its inputs are given back."""
        self._rows[0, 2] += 1

    def add(
        self, ready: float, received: float, computed: float, cleared: float, sent: float
    ) -> None:
        """Note that the item is handed on, and its times."""
        count = self.count
        self._rows[1 + count % RECORDS] = (ready, received, computed, cleared, sent)
        self._rows[0, 0] = count + 1

    @property
    def counts(self) -> tuple[int, int, int]:
        """Items taken, computed and sent since the stages were wired."""
        sent, taken, computed = self._rows[0, :3].tolist()
        return int(taken), int(computed), int(sent)

    def restart(self) -> None:
        """Forget all: the stages were wired anew, and items count from there."""
        self._rows[0] = 0

    @property
    def count(self) -> int:
        """Items noted so far, those among them that are not kept any more."""
        return int(self._rows[0, 0])

    def last(self) -> npt.NDArray[np.float64]:
        """Return the kept rows, oldest first, as float64[items, 5]."""
        count = self.count
        kept = self._rows[1 : 1 + min(count, RECORDS)].copy()
        return np.roll(kept, -(count % RECORDS), axis=0) if count > RECORDS else kept

    def since(self, count: int) -> tuple[npt.NDArray[np.float64], int]:
        """Return the head row, and below it the kept rows after the first `count`; and how many came before these."""
        head = self._rows[:1].copy()
        done = int(head[0, 0])
        first = max(count, done - RECORDS)
        kept = self._rows[1 + np.arange(first, done) % RECORDS]
        return np.concatenate([head, kept]), first

    def merge(self, rows: npt.NDArray[np.float64], first: int, shift: float) -> None:
        """Take over what :meth:`since` gave elsewhere, with a clock that is `shift` seconds behind."""
        numbers = (first + np.arange(len(rows) - 1)) % RECORDS
        self._rows[1 + numbers] = rows[1:] + shift
        self._rows[0] = rows[0]

    def detach(self) -> None:
        """Keep the times, let go of the memory."""
        self._rows = self._rows.copy()


def pin(cores: Sequence[int]) -> None:
    """Keep the calling thread, and those it starts, on some cores, where the system can."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def run_stage(
    number: int,
    compute: Compute,
    receivers: Sequence[Receiver],
    senders: Sequence[Sender],
    times: Times,
) -> None:
    """Work until a channel closes.

    Items arrive in order on every channel, so the n-th of each belong together.  Receiving by
    rising source and sending by rising target cannot deadlock: whoever waits, waits for an earlier
    item, or for an earlier stage with the same one.  An item that raises is handed on as failed;
    those behind it are computed as if nothing had been.

    Raises
    ------
    ChannelClosedError
        When a neighbour has gone; the only way out.
    """
    while True:
        ready = perf_counter()
        fault = ""
        feeds: dict[str, Any] = {}
        for receiver in receivers:
            try:
                feeds.update(zip(receiver.route.names, receiver.recv(), strict=True))
            except ItemFailedError as failed:
                fault = fault or str(failed)
        received = perf_counter()
        times.take()
        results: Mapping[str, Any] = {}
        if not fault:
            into: dict[str, npt.NDArray[Any]] = {}
            for sender in senders:
                into = {**sender.room(), **into}
            try:
                results = compute(feeds, into)
            except StalledError as stalled:
                fault = f"stage {number} stalled: {stalled}"
            except Exception as error:  # noqa: BLE001  # whoever asked for the item must learn of it
                fault = f"stage {number} failed: {type(error).__name__}: {error}".strip()
        computed = perf_counter()
        for receiver in receivers:
            receiver.release()
        times.compute()
        waited = sum(sender.waited for sender in senders)
        for sender in senders:
            if fault:
                sender.fail(fault)
            else:
                sender.send([results[name] for name in sender.route.names])
        waited = sum(sender.waited for sender in senders) - waited
        times.add(ready, received, computed, computed + waited, perf_counter())
