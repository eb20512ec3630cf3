# SPDX-License-Identifier: Apache-2.0
"""A stage on some machine of a Ray cluster that exchanges tensors through connections of its own."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Final

import numpy as np
import numpy.typing as npt

from .channels import ChannelClosedError
from .ray_actor import StageSetup, open_stage
from .sockets import (
    Address,
    Doorstep,
    Line,
    SocketReceiver,
    SocketSender,
    connect,
    end,
    read_exactly,
)
from .stage_loop import RECORDS_BYTES, Times, run_stage
from .wiring import OUTSIDE

__all__ = ["COUNT", "Answer", "SocketActor", "control_line", "times_line"]

COUNT: Final = struct.Struct("<Q")
"""A question for times: how many items are known.  Before an answer: how many bytes it has."""

_CONTROL: Final = -2
_TIMES: Final = -3


def control_line(generation: int, stage: int) -> Line:
    """Return what the caller connects for to end a stage's work, or to learn that its process has gone."""
    return Line(generation, _CONTROL, stage)


def times_line(generation: int, stage: int) -> Line:
    """Return what the caller connects for to ask for a stage's times."""
    return Line(generation, _TIMES, stage)


@dataclass(frozen=True)
class Answer:
    """What a stage says when it is asked for its times.

    Parameters
    ----------
    ended
        Whether it works no more, so that nothing of this changes.
    rows, first
        Of :meth:`.stage_loop.Times.since`, by the clock of its machine.
    places
        For each target of its routes, the items sent there and the places that came back.
    """

    ended: bool
    rows: npt.NDArray[np.float64]
    first: int
    places: Mapping[int, tuple[int, int]]


class SocketActor:
    """Runs a stage, as a worker process of the local engine does; Ray places it and starts it again.

    Calls come in threads: one works, others listen or wait to work.
    """

    def __init__(self, setup: StageSetup) -> None:
        self._setup = setup
        self._session = open_stage(setup)
        self._times = Times(bytearray(RECORDS_BYTES))
        self._working = threading.Lock()
        self._doorstep: Doorstep | None = None

    def listen(self) -> tuple[Address, float]:
        """Return where this process is reached, and when its clock was zero, in seconds since the epoch."""
        if self._doorstep is None:
            import ray

            self._doorstep = Doorstep(ray.util.get_node_ip_address(), self._setup.secret)
        return self._doorstep.address, time.time() - perf_counter()

    def work(self, generation: int, addresses: Sequence[Address], seconds: float) -> None:
        """Connect with the neighbours within so many seconds, and work until they or the caller go.

        Raises
        ------
        UnreachableError
            If a neighbour cannot be reached.
        """
        with self._working:
            ends: list[SocketReceiver | SocketSender] = []
            try:
                self._work(generation, addresses, monotonic() + seconds, ends)
            except ChannelClosedError:
                pass
            finally:
                # What goes wrong must reach the neighbours, whose ends close with these.
                for one in ends:
                    one.close()

    def _work(
        self,
        generation: int,
        addresses: Sequence[Address],
        deadline: float,
        ends: list[SocketReceiver | SocketSender],
    ) -> None:
        assert self._doorstep is not None  # noqa: S101  # the caller has the address from it
        number, doorstep, setup = self._setup.number, self._doorstep, self._setup
        doorstep.forget_before(generation)
        control = doorstep.wait_for(control_line(generation, number), deadline)
        times = doorstep.wait_for(times_line(generation, number), deadline)
        senders: list[SocketSender] = []
        receivers: list[SocketReceiver] = []
        ended = threading.Event()
        threading.Thread(
            target=self._hear, args=(control, doorstep, generation, ends), daemon=True
        ).start()
        self._times.restart()
        threading.Thread(target=self._answer, args=(times, senders, ended), daemon=True).start()
        try:
            for route in setup.sends:
                line = Line(generation, number, route.target)
                # The caller has no doorstep: it may be where nobody can connect to.
                sock = (
                    doorstep.wait_for(line, deadline)
                    if route.target == OUTSIDE
                    else connect(addresses[route.target], setup.secret, line)
                )
                senders.append(SocketSender(route, sock))
                ends.append(senders[-1])
            for route in setup.receives:
                line = Line(generation, route.source, number)
                receivers.append(SocketReceiver(route, doorstep.wait_for(line, deadline)))
                ends.append(receivers[-1])
            control.sendall(b"+")
            run_stage(number, self._session, receivers, senders, self._times)
        except OSError:
            raise ChannelClosedError from None  # the control: the caller has gone
        finally:
            for sender in senders:
                sender.count_places()
            ended.set()

    def _hear(
        self,
        control: socket.socket,
        doorstep: Doorstep,
        generation: int,
        ends: Sequence[SocketReceiver | SocketSender],
    ) -> None:
        """End the work when the caller ends it or goes; runs in a thread."""
        try:
            control.recv(1)
        except OSError:
            pass
        finally:
            doorstep.forget_before(generation + 1)
            for one in list(ends):
                one.stop()
            control.close()

    def _answer(
        self, times: socket.socket, senders: Sequence[SocketSender], ended: threading.Event
    ) -> None:
        """Tell the caller the times whenever it asks, until it goes; runs in a thread."""
        try:
            while True:
                (known,) = COUNT.unpack(read_exactly(times, COUNT.size))
                over = ended.is_set()
                rows, first = self._times.since(known)
                places = {s.route.target: (s.sent, s.released) for s in list(senders)}
                content = pickle.dumps(Answer(over, rows, first, places), 5)
                times.sendall(COUNT.pack(len(content)) + content)
        except (EOFError, OSError):
            pass
        finally:
            end(times)
            times.close()
