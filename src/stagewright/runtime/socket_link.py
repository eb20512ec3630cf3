# SPDX-License-Identifier: Apache-2.0
"""What the caller holds of a stage elsewhere: its work, its control, and the connection that tells its times."""

from __future__ import annotations

import pickle
import select
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from .socket_actor import COUNT, Answer
from .sockets import end, read_exactly
from .stage_loop import Times

__all__ = ["Link"]

_REST_SECONDS: Final = 5.0


class Link:
    """The caller's side of a stage that works on another machine.

    Parameters
    ----------
    number
        Of the stage.
    work
        Ray's reference of its work, which ends with it.
    control
        Is readable when the stage's process has gone.
    times
        Where its times are asked for.
    shift
        Seconds that the clock of its machine is behind the caller's.
    """

    def __init__(
        self, number: int, work: Any, control: socket.socket, times: socket.socket, shift: float
    ) -> None:
        self.number, self.work, self.control = number, work, control
        self.places: Mapping[int, tuple[int, int]] = {}
        self.places_are_final = self.failed = False
        self._times, self._shift = times, shift
        self._asked = self._deaf = False
        times.settimeout(_REST_SECONDS)

    def ready(self, seconds: float) -> bool:
        """Wait so long for the stage to say that it works."""
        return _readable(self.control, seconds) and self.control.recv(1) == b"+"

    @property
    def gone(self) -> bool:
        """Whether its process has gone."""
        if not _readable(self.control, 0):
            return False
        try:
            return not self.control.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def ask(self, times: Times, seconds: float) -> bool:
        """Ask for the times since those known and add them; False if there was no answer."""
        if self._deaf:
            return False
        try:
            if not self._asked:
                self._times.sendall(COUNT.pack(times.count))
                self._asked = True
            if not _readable(self._times, seconds):
                return False  # the answer is waited for next time
            (nbytes,) = COUNT.unpack(read_exactly(self._times, COUNT.size))
            answer: Answer = pickle.loads(read_exactly(self._times, nbytes))
        except (OSError, EOFError):
            self._deaf = True
            return False
        self._asked = False
        times.merge(answer.rows, answer.first, self._shift)
        self.places, self.places_are_final = answer.places, answer.ended
        return True

    def let_go(self) -> None:
        """End the stage's work; its times can still be asked for."""
        with suppress(OSError):
            self.control.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both connections."""
        for sock in (self.control, self._times):
            end(sock)
            sock.close()


def _readable(sock: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
