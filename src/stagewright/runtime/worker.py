# SPDX-License-Identifier: Apache-2.0
"""A process that runs one stage.  Started by the process engine with one inherited socket."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from ..cost.ort_session import onnxruntime
from .channels import ChannelClosedError, RingReceiver, RingSender
from .session import StageSession
from .stage_loop import StageSettings, Times, pin, run_stage
from .wiring import Route

__all__ = ["End", "Wiring", "WorkerSetup", "main", "send_with_descriptors"]

# What one message on a socket may carry, less than every system's limit.
_DESCRIPTORS_AT_ONCE = 64


@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker is told at first; the shared memory's descriptor comes with it."""

    number: int
    settings: StageSettings
    memory_bytes: int
    times_start: int


@dataclass(frozen=True)
class End:
    """One end of a ring: its route, and where it lies in the shared memory."""

    route: Route
    start: int


@dataclass(frozen=True)
class Wiring:
    """The ends that a worker gets.

    Descriptors come for each: of items, of credits, and of the file for tensors of no fixed size if
    the route has such.
    """

    receivers: tuple[End, ...]
    senders: tuple[End, ...]


def send_with_descriptors(control: Connection, message: object, fds: Sequence[int]) -> None:
    """Send a message and then descriptors, which the system copies into the other process."""
    control.send(message)
    with socket.socket(fileno=os.dup(control.fileno())) as channel:
        for first in range(0, len(fds), _DESCRIPTORS_AT_ONCE):
            socket.send_fds(channel, [b"f"], fds[first : first + _DESCRIPTORS_AT_ONCE])


def _descriptors(control: Connection, count: int) -> list[int]:
    fds: list[int] = []
    with socket.socket(fileno=os.dup(control.fileno())) as channel:
        while len(fds) < count:
            wanted = min(count - len(fds), _DESCRIPTORS_AT_ONCE)
            message, received, _, _ = socket.recv_fds(channel, 1, wanted)
            if not message:
                raise EOFError
            fds += received
    return fds


def main(control_fd: int) -> None:
    """Run a stage until the caller goes; tell it of any fault.

    The messages are ``("ready",)`` when wired, ``("closed",)`` when a neighbour has gone and the worker
    waits to be wired anew, and ``("error", text)``.
    """
    # Ctrl-C reaches every process of the terminal; the caller decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_caller, args=(control_fd,), daemon=True).start()
    control = Connection(control_fd)
    try:
        _work(control)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except BaseException as fault:  # noqa: BLE001  # whatever it is, the caller must learn of it
        with contextlib.suppress(OSError):
            control.send(("error", f"{type(fault).__name__}: {fault}".strip()))
    # Neither the runtime's threads nor its destructors may keep a finished worker alive.
    os._exit(0)


def _end_with_caller(control_fd: int) -> None:
    """End the process when the caller has gone, whatever is being computed; runs in a thread."""
    poll = select.poll()
    poll.register(control_fd, 0)  # that the other side has gone is always told
    poll.poll()
    os._exit(0)


def _work(control: Connection) -> None:
    onnxruntime("Running a pipeline")  # a spare worker loads it before it is told its stage
    setup: WorkerSetup = control.recv()
    settings = setup.settings
    (memory_fd,) = _descriptors(control, 1)
    pin(settings.cores)
    memory = mmap.mmap(memory_fd, setup.memory_bytes)
    os.close(memory_fd)
    times = Times(memory, setup.times_start)
    session = StageSession(
        settings.path, settings.threads, settings.level, settings.provider, reuse=True
    )
    while True:
        wiring: Wiring = control.recv()
        ends = (*wiring.receivers, *wiring.senders)
        fds = iter(_descriptors(control, sum(2 + e.route.spills for e in ends)))
        receivers: list[RingReceiver] = []
        senders: list[RingSender] = []
        for end in ends:
            items_fd, credits_fd = next(fds), next(fds)
            spill_fd = next(fds) if end.route.spills else -1
            place = end.route, memory, end.start
            if len(receivers) < len(wiring.receivers):
                items = Connection(items_fd, writable=False)
                receivers.append(RingReceiver(*place, items, credits_fd, spill_fd))
            else:
                items = Connection(items_fd, readable=False)
                senders.append(RingSender(*place, items, credits_fd, spill_fd))
        control.send(("ready",))
        try:
            run_stage(setup.number, session, receivers, senders, times)
        except ChannelClosedError:
            pass
        finally:
            # What goes wrong must reach the neighbours, whose ends close with these.
            for receiver in receivers:
                receiver.close()
            for sender in senders:
                sender.close()
        control.send(("closed",))


if __name__ == "__main__":
    main(int(sys.argv[1]))
