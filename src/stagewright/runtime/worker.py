# SPDX-License-Identifier: Apache-2.0
"""A process that runs one stage.  Started by the process engine with inherited descriptors."""

from __future__ import annotations

import mmap
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection

from .channels import ChannelClosedError, RingReceiver, RingSender
from .stage_loop import StageSettings, Times, open_session, pin, run_stage
from .wiring import Route

__all__ = ["End", "WorkerSetup", "main"]


@dataclass(frozen=True)
class End:
    """One end of a ring: its route, where it lies in the shared memory, and its descriptors."""

    route: Route
    start: int
    items_fd: int
    credits_fd: int


@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker is told, through its control pipe."""

    settings: StageSettings
    memory_fd: int
    memory_bytes: int
    times_start: int
    receivers: tuple[End, ...]
    senders: tuple[End, ...]


def main(control_fd: int) -> None:
    """Run a stage until a neighbour closes; tell the caller of any fault.

    The messages are ``("ready",)``, ``("closed",)`` and ``("error", text)``.
    """
    # Ctrl-C reaches every process of the terminal; the caller decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = Connection(control_fd)
    try:
        setup: WorkerSetup = control.recv()
        _work(setup, control)
    except (ChannelClosedError, EOFError, BrokenPipeError):
        message: tuple[str, ...] = ("closed",)
    except BaseException as fault:  # noqa: BLE001  # whatever it is, the caller must learn of it
        message = ("error", f"{type(fault).__name__}: {fault}".strip())
    try:
        control.send(message)
        control.close()
    except OSError:
        pass
    # Neither the runtime's threads nor its destructors may keep a finished worker alive.
    os._exit(0)


def _work(setup: WorkerSetup, control: Connection) -> None:
    settings = setup.settings
    pin(settings.cores)
    memory = mmap.mmap(setup.memory_fd, setup.memory_bytes)
    os.close(setup.memory_fd)
    receivers = [
        RingReceiver(e.route, memory, e.start, Connection(e.items_fd, writable=False), e.credits_fd)
        for e in setup.receivers
    ]
    senders = [
        RingSender(e.route, memory, e.start, Connection(e.items_fd, readable=False), e.credits_fd)
        for e in setup.senders
    ]
    session = open_session(settings.path, settings.threads, settings.level)
    control.send(("ready",))
    times = Times(memory, setup.times_start)
    run_stage(session.run, settings.outputs, receivers, senders, times)


if __name__ == "__main__":
    main(int(sys.argv[1]))
