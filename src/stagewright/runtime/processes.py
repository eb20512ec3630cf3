# SPDX-License-Identifier: Apache-2.0
"""One process per stage.

The shared memory has no name: it is a descriptor that the workers are given, so the system frees it
when the last of them is gone, whatever happened.  Every pipe has exactly one process at each end, so
a process that dies closes its channels and the news travels by itself; a monitor thread adds which
stage it was, and why.  Workers that live on find a closed channel too, keep their loaded stage, and
wait to be wired anew: that is all a restart has to do for them.  Where workers are started again, a spare one
stands by that has its libraries loaded, for that takes longer than all the rest.
"""

from __future__ import annotations

import contextlib
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
from typing import Literal

from ..errors import RunError
from .channels import Receiver, RingReceiver, RingSender, Sender
from .engines import Failure
from .stage_loop import RECORDS_BYTES, StageSettings, Times
from .stalls import Watch
from .wiring import OUTSIDE, Route, shared_layout
from .worker import End, Wiring, WorkerSetup, send_with_descriptors

__all__ = ["ProcessEngine"]

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_PAGE = mmap.PAGESIZE
_GRACE_SECONDS = 2.0
_PROGRAM = "import sys; from stagewright.runtime.worker import main; main(int(sys.argv[1]))"


@dataclass
class _Worker:
    """A process and what it last said; `why` is the fault that it told of, or that it was ended for."""

    process: subprocess.Popen[bytes]
    control: Connection
    state: Literal["starting", "ready", "closed", "gone"] = "starting"
    why: str = ""


@dataclass
class _Ring:
    """A route with its place in the shared memory, the four pipe ends, and its file if it has one."""

    route: Route
    start: int
    items_in: Connection
    items_out: Connection
    credits_in: int
    credits_out: int
    spill_fd: int

    @classmethod
    def make(cls, route: Route, start: int) -> _Ring:
        items_out, items_in = Pipe(duplex=False)
        credits_out, credits_in = os.pipe()
        spill_fd = _anonymous_memory(0) if route.spills else -1
        return cls(route, start, items_in, items_out, credits_in, credits_out, spill_fd)

    @property
    def end(self) -> End:
        return End(self.route, self.start)

    @property
    def sender_fds(self) -> tuple[int, ...]:
        return self._with_file(self.items_in.fileno(), self.credits_out)

    @property
    def receiver_fds(self) -> tuple[int, ...]:
        return self._with_file(self.items_out.fileno(), self.credits_in)

    def _with_file(self, items: int, credits_fd: int) -> tuple[int, ...]:
        return (items, credits_fd, self.spill_fd) if self.spill_fd >= 0 else (items, credits_fd)

    def close(self, *, sender: bool, receiver: bool) -> None:
        if sender:
            self.items_in.close()
            os.close(self.credits_out)
        if receiver:
            self.items_out.close()
            os.close(self.credits_in)
        if sender and receiver and self.spill_fd >= 0:
            os.close(self.spill_fd)  # no end is here; an end here closes it


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
    """Starts a worker per stage and watches them.

    Parameters
    ----------
    stages, routes
        What each computes, and who sends what to whom.
    restart
        How often in a row a worker that is gone is started again; 0: the first fault ends all.
    """

    feeds: Sequence[Sender]
    results: Sequence[Receiver]

    def __init__(
        self, stages: Sequence[StageSettings], routes: Sequence[Route], restart: int = 0
    ) -> None:
        self.failure = Failure()
        self.feeds, self.results = (), ()
        self._stages, self._routes, self._restart = stages, routes, restart
        self._closing = False
        self._workers: list[_Worker] = []
        self._spare: _Worker | None = None
        self._said = threading.Condition()
        times_start, self._starts, total = _places(len(stages), routes)
        self._memory_fd = _anonymous_memory(total)
        self._memory: mmap.mmap | None = mmap.mmap(self._memory_fd, total)
        self._memory_bytes, self._times_start = total, times_start
        self.times: Sequence[Times] = [Times(self._memory, start) for start in times_start]
        self._watch = Watch([s.stall_after for s in stages], routes, self)
        # Something said here makes the monitor look at the workers anew.
        self._news_out, self._news_in = Pipe(duplex=False)
        self._monitor = threading.Thread(target=self._look, name="pipeline monitor", daemon=True)
        try:
            for number in range(len(stages)):
                self._workers.append(self._start(number))
            # Now, while the others load, so that it is idle when items come.
            self._spare = self._spawn() if restart else None
            self._monitor.start()
            self._wire()
        except BaseException:
            self.close()
            raise

    @property
    def processes(self) -> list[int]:
        """Process numbers, by stage."""
        return [w.process.pid for w in self._workers]

    @property
    def _all(self) -> list[_Worker]:
        return self._workers + ([self._spare] if self._spare else [])

    def _start(self, number: int) -> _Worker:
        """Return a worker that has been told its stage: the spare one, if there is."""
        worker, self._spare = self._spare or self._spawn(), None
        setup = WorkerSetup(
            number, self._stages[number], self._memory_bytes, self._times_start[number]
        )
        self._tell(worker, setup, [self._memory_fd])
        return worker

    def _spawn(self) -> _Worker:
        """Start a worker that loads its libraries and waits to be told its stage."""
        control, theirs = Pipe()
        paths = [_PACKAGE_ROOT, os.environ.get("PYTHONPATH", "")]
        # Until the worker ignores it, Ctrl-C must not reach it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            # -P: a module in the current folder must not be taken for a library.
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )
        except BaseException:
            control.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        return _Worker(process, control)

    def _tell(self, worker: _Worker, message: object, fds: Sequence[int]) -> None:
        # If it has gone, the monitor learns of it from the same socket.
        with contextlib.suppress(OSError):
            send_with_descriptors(worker.control, message, fds)

    def _wire(self) -> None:
        """Connect all workers with new channels and wait until they are ready.

        Raises
        ------
        RunError
            If one of them is gone or cannot load its stage.
        """
        with self._said:
            for worker in self._workers:
                if worker.state == "closed":
                    worker.state = "starting"
        for times in self.times:
            times.restart()
        rings = [_Ring.make(r, s) for r, s in zip(self._routes, self._starts, strict=True)]
        try:
            for number, worker in enumerate(self._workers):
                into = [r for r in rings if r.route.target == number]
                out_of = [r for r in rings if r.route.source == number]
                wiring = Wiring(tuple(r.end for r in into), tuple(r.end for r in out_of))
                fds = [fd for r in into for fd in r.receiver_fds]
                self._tell(worker, wiring, fds + [fd for r in out_of for fd in r.sender_fds])
        finally:
            # From here on each end belongs to one process alone, so its death closes it.
            for r in rings:
                r.close(sender=r.route.source != OUTSIDE, receiver=r.route.target != OUTSIDE)
        self.feeds = [
            RingSender(r.route, self._memory, r.start, r.items_in, r.credits_out, r.spill_fd)
            for r in rings
            if r.route.source == OUTSIDE
        ]
        self.results = [
            RingReceiver(r.route, self._memory, r.start, r.items_out, r.credits_in, r.spill_fd)
            for r in rings
            if r.route.target == OUTSIDE
        ]
        with self._said:
            self._said.wait_for(
                lambda: self._closing or all(w.state != "starting" for w in self._workers)
            )
        self.failure.check()
        if self._closing:
            raise RunError("the pipeline was closed")

    def _look(self) -> None:
        """Read what the workers say, and look whether they move, until the engine closes."""
        while not self._closing:
            controls = {w.control: i for i, w in enumerate(self._workers) if w.state != "gone"}
            for said in wait([self._news_out, *controls], timeout=self._watch.interval):
                if said is self._news_out:
                    self._news_out.recv_bytes()
                else:
                    assert isinstance(said, Connection)  # noqa: S101  # the only kind passed in
                    self._hear(controls[said])
            self._end_stalled()

    def _hear(self, number: int) -> None:
        worker = self._workers[number]
        try:
            message = worker.control.recv()
        except (EOFError, OSError):
            self._fail(number, worker.why or self._fate(worker), "gone")
            return
        if message[0] == "error":
            worker.why = f"failed: {message[1]}"
            return  # it ends now
        with self._said:
            worker.state = message[0]
            self._said.notify_all()

    def _end_stalled(self) -> None:
        if any(w.state != "ready" for w in self._workers):
            self._watch.restart()
            return
        for number, text in self._watch.stalled():
            worker = self._workers[number]
            worker.why = f"stalled: {text}"
            self._fail(number, worker.why, worker.state)
            worker.process.kill()

    def _fate(self, worker: _Worker) -> str:
        try:
            code = worker.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closed its channels and still runs"
        if code < 0:
            return f"died: killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def _fail(
        self, number: int, cause: str, state: Literal["starting", "ready", "closed", "gone"]
    ) -> None:
        taken, computed, _ = self.times[number].counts
        if not self._closing:
            self.failure.set(
                f"stage {number} {cause}", number, computed if taken > computed else None
            )
            if not self._restart:
                for worker in self._workers:
                    worker.process.kill()
        with self._said:
            self._workers[number].state = state
            self._said.notify_all()

    def revive(self) -> None:
        """Start the workers that are gone and wire all anew; the others keep their loaded stages.

        Raises
        ------
        RunError
            If a stage cannot be loaded, or dies while it starts more often than it may in a row.
        """
        for attempt in range(self._restart + 1):
            self._close_ends()
            self._wait_until_apart()
            for number, worker in enumerate(self._workers):
                if worker.state == "gone":
                    worker.process.wait()
                    worker.control.close()
                    with self._said:
                        self._workers[number] = self._start(number)
            self.failure.clear()
            self._watch.restart()
            self._news_in.send_bytes(b".")
            try:
                self._wire()
            except RunError as fault:
                last = attempt == self._restart or " failed: " in str(fault) or self._closing
                if last:
                    self.kill()
                    raise
            else:
                self._spare = self._spare or self._spawn()
                return

    def _wait_until_apart(self) -> None:
        """Wait until every worker is gone or waits to be wired; one that does not get there is ended.

        It may have an item to compute first, for which it has as long as for any other.
        """
        limit = time.monotonic() + max(s.stall_after for s in self._stages)
        with self._said:
            apart = self._said.wait_for(self._apart, timeout=limit - time.monotonic())
        if not apart:
            for worker in self._workers:
                if worker.state == "ready":
                    worker.why = "stalled: it did not let go of its channels"
                    worker.process.kill()
            with self._said:
                self._said.wait_for(self._apart)

    def _apart(self) -> bool:
        return all(w.state in ("closed", "gone") for w in self._workers) or self._closing

    def _close_ends(self) -> None:
        ends: list[Sender | Receiver] = [*self.feeds, *self.results]
        self.feeds, self.results = (), ()
        for end in ends:
            end.close()

    def kill(self) -> None:
        """End the workers at once; whoever waits for a channel finds it closed."""
        self._closing = True
        with self._said:
            self._said.notify_all()
        for worker in self._all:
            worker.process.kill()

    def close(self) -> None:
        """End the workers: by closing their channels, and by force if they do not hear."""
        self._closing = True
        if self._monitor.is_alive():
            self._news_in.send_bytes(b".")
            self._monitor.join()
        self._close_ends()
        for worker in self._all:
            worker.control.close()
        deadline = time.monotonic() + _GRACE_SECONDS
        for worker in self._all:
            try:
                worker.process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        for times in self.times:
            times.detach()
        self._memory = None
        self._news_in.close()
        self._news_out.close()
        if self._memory_fd >= 0:
            os.close(self._memory_fd)
            self._memory_fd = -1


def _places(stages: int, routes: Sequence[Route]) -> tuple[list[int], list[int], int]:
    """Return where each stage's times and each ring begin in the shared memory, and its size."""
    end, places = 0, []
    sizes = [RECORDS_BYTES] * stages + [shared_layout(r)[1] * r.slots for r in routes]
    for size in sizes:
        places.append(end)
        end += -(-size // _PAGE) * _PAGE
    return places[:stages], places[stages:], max(end, _PAGE)
