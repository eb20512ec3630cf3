# SPDX-License-Identifier: Apache-2.0
"""One process per stage.

The shared memory has no name: it is a descriptor that the workers inherit, so the system frees it
when the last of them is gone, whatever happened.  Every pipe has exactly one process at each end, so
a process that dies closes its channels and the news travels by itself; a monitor thread adds which
stage it was, and why.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from .channels import Receiver, RingReceiver, RingSender, Sender
from .engines import Failure
from .stage_loop import RECORDS_BYTES, StageSettings, Times
from .wiring import OUTSIDE, Route, shared_layout
from .worker import End, WorkerSetup

__all__ = ["ProcessEngine"]

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_PAGE = mmap.PAGESIZE
_GRACE_SECONDS = 2.0
_PROGRAM = "import sys; from stagewright.runtime.worker import main; main(int(sys.argv[1]))"


@dataclass
class _Ring:
    """A route with its place in the shared memory and the four pipe ends."""

    route: Route
    start: int
    items_in: Connection
    items_out: Connection
    credits_in: int
    credits_out: int

    @classmethod
    def make(cls, route: Route, start: int) -> _Ring:
        items_out, items_in = Pipe(duplex=False)
        credits_out, credits_in = os.pipe()
        return cls(route, start, items_in, items_out, credits_in, credits_out)

    @property
    def sender_end(self) -> End:
        return End(self.route, self.start, self.items_in.fileno(), self.credits_out)

    @property
    def receiver_end(self) -> End:
        return End(self.route, self.start, self.items_out.fileno(), self.credits_in)

    def close_sender_end(self) -> None:
        self.items_in.close()
        os.close(self.credits_out)

    def close_receiver_end(self) -> None:
        self.items_out.close()
        os.close(self.credits_in)


def _anonymous_memory(nbytes: int) -> int:
    """Return a descriptor of memory without a name."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("stagewright")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.truncate(fd, nbytes)
    return fd


class ProcessEngine:
    """Starts a worker per stage and watches them."""

    def __init__(self, stages: Sequence[StageSettings], routes: Sequence[Route]) -> None:
        self.failure = Failure()
        self._closing = False
        self._processes: list[subprocess.Popen[bytes]] = []
        self._controls: list[Connection] = []
        times_start, starts, total = _places(len(stages), routes)
        memory_fd = _anonymous_memory(total)
        memory = mmap.mmap(memory_fd, total)
        rings = [_Ring.make(r, s) for r, s in zip(routes, starts, strict=True)]
        try:
            for number, settings in enumerate(stages):
                ends = _ends_of(number, rings)
                self._start(WorkerSetup(settings, memory_fd, total, times_start[number], *ends))
        except BaseException:
            self._abandon(rings)
            raise
        finally:
            os.close(memory_fd)
            # From here on each end belongs to one process alone, so its death closes it.
            for ring in rings:
                if ring.route.source != OUTSIDE:
                    ring.close_sender_end()
                if ring.route.target != OUTSIDE:
                    ring.close_receiver_end()
        self.times: Sequence[Times] = [Times(memory, start) for start in times_start]
        self.feeds: Sequence[Sender] = [
            RingSender(r.route, memory, r.start, r.items_in, r.credits_out)
            for r in rings
            if r.route.source == OUTSIDE
        ]
        self.results: Sequence[Receiver] = [
            RingReceiver(r.route, memory, r.start, r.items_out, r.credits_in)
            for r in rings
            if r.route.target == OUTSIDE
        ]
        self._ready = threading.Semaphore(0)
        self._monitor = threading.Thread(target=self._watch, name="pipeline monitor", daemon=True)
        self._monitor.start()
        self._wait_until_ready()

    def _start(self, setup: WorkerSetup) -> None:
        control, theirs = Pipe()
        ends = (*setup.receivers, *setup.senders)
        inherited = [theirs.fileno(), setup.memory_fd]
        inherited += [fd for end in ends for fd in (end.items_fd, end.credits_fd)]
        paths = [_PACKAGE_ROOT, os.environ.get("PYTHONPATH", "")]
        # -P: a module in the current folder must not be taken for a library.
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=inherited,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        theirs.close()
        self._processes.append(process)
        self._controls.append(control)
        control.send(setup)

    def _abandon(self, rings: Sequence[_Ring]) -> None:
        """Undo a start that failed half-way."""
        self.kill()
        for process in self._processes:
            process.wait()
        for control in self._controls:
            control.close()
        for ring in rings:
            if ring.route.source == OUTSIDE:
                ring.close_sender_end()
            if ring.route.target == OUTSIDE:
                ring.close_receiver_end()

    def _wait_until_ready(self) -> None:
        try:
            for _ in self._processes:
                self._ready.acquire()
            self.failure.check()
        except BaseException:
            self.close()
            raise

    def _watch(self) -> None:
        """Read what the workers say until all are silent; on the first fault end them all."""
        stages = {control: number for number, control in enumerate(self._controls)}
        said_why: set[int] = set()
        while stages:
            for control in wait(list(stages)):
                assert isinstance(control, Connection)  # noqa: S101  # the only kind passed in
                number = stages[control]
                try:
                    message = control.recv()
                except (EOFError, OSError):
                    del stages[control]
                    if number not in said_why and not self._closing:
                        self._fail(f"stage {number} {self._fate(number)}")
                    continue
                if message[0] == "ready":
                    self._ready.release()
                    continue
                said_why.add(number)
                if message[0] == "error":
                    self._fail(f"stage {number} failed: {message[1]}")
        if not self._closing:
            self._fail("all stages ended")

    def _fate(self, number: int) -> str:
        try:
            code = self._processes[number].wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closed its channels and still runs"
        if code < 0:
            return f"died: killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def _fail(self, text: str) -> None:
        first = self.failure.set(text)
        for process in self._processes if first else ():
            process.kill()
        for _ in self._processes:
            self._ready.release()

    def kill(self) -> None:
        """End the workers at once; whoever waits for a channel finds it closed."""
        self._closing = True
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """End the workers: by closing their channels, and by force if they do not hear."""
        self._closing = True
        ends: list[Sender | Receiver] = [*self.feeds, *self.results]
        for end in ends:
            end.close()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._monitor.join()
        for control in self._controls:
            control.close()
        for times in self.times:
            times.detach()


def _ends_of(number: int, rings: Sequence[_Ring]) -> tuple[tuple[End, ...], tuple[End, ...]]:
    """Return the receiving and the sending ends of a stage."""
    return (
        tuple(r.receiver_end for r in rings if r.route.target == number),
        tuple(r.sender_end for r in rings if r.route.source == number),
    )


def _places(stages: int, routes: Sequence[Route]) -> tuple[list[int], list[int], int]:
    """Return where each stage's times and each ring begin in the shared memory, and its size."""
    end, places = 0, []
    sizes = [RECORDS_BYTES] * stages + [shared_layout(r)[1] * r.slots for r in routes]
    for size in sizes:
        places.append(end)
        end += -(-size // _PAGE) * _PAGE
    return places[:stages], places[stages:], max(end, _PAGE)
