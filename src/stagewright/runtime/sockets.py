# SPDX-License-Identifier: Apache-2.0
"""Channels between processes on different machines: a TCP connection per route.

A message is a header, a pickle and the arrays as they are (pickle's protocol 5, buffers out of band), so an
array is copied once by the sender's kernel and once out of the receiver's.  A thread reads messages as they come,
into memory that is used again; a byte on the way back gives an item's place back, and without places the sender
waits: so many items are on the way as the route has slots, whatever their size.  A process that ends closes its
connections, however it ends.

Whoever connects says a secret first, which all processes of a pipeline were given, and what the connection is for.
"""

from __future__ import annotations

import contextlib
import hmac
import pickle
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from time import monotonic, perf_counter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import RunError
from .channels import ChannelClosedError, ItemFailedError
from .wiring import Route

__all__ = [
    "Address",
    "Doorstep",
    "Line",
    "SocketReceiver",
    "SocketSender",
    "UnreachableError",
    "connect",
    "end",
    "read_exactly",
]

Address = tuple[str, int]

SECRET_BYTES: Final = 32
_CONNECT_SECONDS: Final = 5.0
_HELLO: Final = struct.Struct("<qii")
_HEADER: Final = struct.Struct("<?III")  # failed; bytes of the pickle; number of buffers; zero
_SIZE: Final = struct.Struct("<Q")
_ALIGNMENT: Final = 64
_MOST_PARTS: Final = 512  # less than what any system gathers in one call
_WELCOME: Final = b"+"


class UnreachableError(RunError):
    """One machine cannot connect to another."""


class Line(NamedTuple):
    """What a connection is for: how often the stages had been connected before, and who sends to whom."""

    generation: int
    source: int
    target: int


def connect(address: Address, secret: bytes, line: Line) -> socket.socket:
    """Connect to a process that waits at its :class:`Doorstep`.

    Raises
    ------
    UnreachableError
        If nobody answers there, or another than who knows the secret.
    """
    try:
        sock = socket.create_connection(address, timeout=_CONNECT_SECONDS)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(secret + _HELLO.pack(*line))
            if sock.recv(1) != _WELCOME:
                raise ConnectionRefusedError("turned away")
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
    except OSError as fault:
        host, port = address
        raise UnreachableError(
            f"{socket.gethostname()} cannot connect to {host}:{port}: {fault.strerror or fault}"
        ) from None
    return sock


def end(sock: socket.socket) -> None:
    """Let both sides know that nothing more is said; whoever waits for either wakes up."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class Doorstep:
    """Where others connect to; what they come for is waited for by its line.

    Parameters
    ----------
    host
        The address of this machine that the others know.
    secret
        What they have to say.
    """

    def __init__(self, host: str, secret: bytes) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._secret = secret
        self._socket = socket.create_server((host, 0), family=family, backlog=128)
        self.address: Address = (host, int(self._socket.getsockname()[1]))
        self._arrived: dict[Line, socket.socket] = {}
        self._oldest = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._open, name="doorstep", daemon=True).start()

    def _open(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            # Each in its own thread: one who says nothing must not keep the others waiting.
            threading.Thread(target=self._greet, args=(sock,), daemon=True).start()

    def _greet(self, sock: socket.socket) -> None:
        try:
            sock.settimeout(_CONNECT_SECONDS)
            said = read_exactly(sock, SECRET_BYTES + _HELLO.size)
            if not hmac.compare_digest(said[:SECRET_BYTES], self._secret):
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(_WELCOME)
            sock.settimeout(None)
        except (OSError, EOFError):
            sock.close()
            return
        line = Line(*_HELLO.unpack(said[SECRET_BYTES:]))
        with self._changed:
            if line.generation < self._oldest:
                sock.close()
                return
            self._arrived[line] = sock
            self._changed.notify_all()

    def forget_before(self, generation: int) -> None:
        """Let nobody wait for an earlier generation any more, and close what came for it."""
        with self._changed:
            self._oldest = max(self._oldest, generation)
            for line in [line for line in self._arrived if line.generation < self._oldest]:
                self._arrived.pop(line).close()
            self._changed.notify_all()

    def wait_for(self, line: Line, deadline: float) -> socket.socket:
        """Return the connection for a line.

        Raises
        ------
        UnreachableError
            If it does not come until `deadline`, of the monotonic clock.
        ChannelClosedError
            If its generation is over.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: line in self._arrived or line.generation < self._oldest,
                timeout=max(0.0, deadline - monotonic()),
            )
            if line.generation < self._oldest:
                raise ChannelClosedError
            if line not in self._arrived:
                raise UnreachableError(
                    f"{socket.gethostname()} waited in vain for a connection of stage {line.source}"
                )
            return self._arrived.pop(line)

    def close(self) -> None:
        """Let nobody in any more."""
        end(self._socket)
        self._socket.close()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Return so many bytes.

    Raises
    ------
    EOFError
        If the other side has gone.
    """
    data = bytearray(count)
    _fill(sock, memoryview(data))
    return bytes(data)


def _fill(sock: socket.socket, place: memoryview) -> None:
    while place:
        count = sock.recv_into(place, 0, socket.MSG_WAITALL)
        if not count:
            raise EOFError
        place = place[count:]


class SocketSender:
    """The giving end of a route; `released` counts the places that the other side gave back."""

    def __init__(self, route: Route, sock: socket.socket) -> None:
        self.route, self._socket = route, sock
        self.sent = self.released = 0
        self.waited = 0.0
        self._counting = threading.Lock()

    def room(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return nothing: arrays are sent from where they are."""
        return {}

    def send(self, values: Sequence[Any]) -> None:
        """Send the values of one item; wait while the other side has no place."""
        buffers: list[pickle.PickleBuffer] = []
        content = pickle.dumps(list(values), 5, buffer_callback=buffers.append)
        self._send(False, content, [buffer.raw() for buffer in buffers])

    def fail(self, text: str) -> None:
        """Send the news that an item failed."""
        self._send(True, text.encode(), [])

    def _send(self, failed: bool, content: bytes, buffers: Sequence[memoryview]) -> None:
        try:
            self._wait_for_place()
            sizes = b"".join(_SIZE.pack(buffer.nbytes) for buffer in buffers)
            head = _HEADER.pack(failed, len(content), len(buffers), 0)
            _send_all(self._socket, [head + sizes + content, *buffers])
        except OSError:
            raise ChannelClosedError from None
        self.sent += 1

    def _wait_for_place(self) -> None:
        self.count_places()
        if self.sent - self.released < self.route.slots:
            return
        start = perf_counter()
        while self.sent - self.released >= self.route.slots:
            if not self._socket.recv(1, socket.MSG_PEEK):
                raise ChannelClosedError
            self.count_places()
        self.waited += perf_counter() - start

    def count_places(self) -> None:
        """Count what came back so far; from any thread."""
        with self._counting, contextlib.suppress(OSError):
            self.released += len(self._socket.recv(4096, socket.MSG_DONTWAIT))

    def stop(self) -> None:
        """Wake whoever waits here; nothing more is sent."""
        end(self._socket)

    def close(self) -> None:
        """Close the connection."""
        end(self._socket)
        self._socket.close()


def _send_all(sock: socket.socket, parts: Sequence[bytes | memoryview]) -> None:
    left = [memoryview(part).cast("B") for part in parts if len(part)]
    while left:
        count = sock.sendmsg(left[:_MOST_PARTS])
        while left and count >= left[0].nbytes:
            count -= left.pop(0).nbytes
        if count:
            left[0] = left[0][count:]


class SocketReceiver:
    """The taking end of a route; a thread of its own reads."""

    def __init__(self, route: Route, sock: socket.socket) -> None:
        self.route, self._socket = route, sock
        self.released = 0
        self._come: SimpleQueue[list[Any] | str | None] = SimpleQueue()
        self._places = [np.empty(0, np.uint8)] * route.slots
        self._thread = threading.Thread(target=self._read, name="receiver", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        """Take messages until the other side goes; runs in a thread."""
        number = 0
        try:
            while True:
                # Its place is free: the sender had it back before it sent another item.
                self._come.put(self._message(number % self.route.slots))
                number += 1
        except (EOFError, OSError):
            pass
        finally:
            self._come.put(None)
            self._socket.close()

    def _message(self, slot: int) -> list[Any] | str:
        failed, nbytes, count, _ = _HEADER.unpack(read_exactly(self._socket, _HEADER.size))
        rest = read_exactly(self._socket, _SIZE.size * count + nbytes)
        content = memoryview(rest)[_SIZE.size * count :]
        sizes = [size for (size,) in _SIZE.iter_unpack(rest[: _SIZE.size * count])]
        buffers = self._into(slot, sizes)
        for buffer in buffers:
            _fill(self._socket, buffer)
        if failed:
            return str(content, "utf-8")
        try:
            values: list[Any] = pickle.loads(content, buffers=buffers)
        except Exception as fault:  # noqa: BLE001  # the item fails, the channel goes on
            return f"a value cannot be read: {type(fault).__name__}: {fault}"
        return values

    def _into(self, slot: int, sizes: Sequence[int]) -> list[memoryview]:
        """Return where the arrays of an item go; memory that is too small is replaced."""
        starts, total = [], 0
        for size in sizes:
            starts.append(total)
            total += -(-size // _ALIGNMENT) * _ALIGNMENT
        if self._places[slot].nbytes < total:
            self._places[slot] = np.empty(total, np.uint8)
        memory = self._places[slot].data
        return [memory[s : s + size] for s, size in zip(starts, sizes, strict=True)]

    def recv(self) -> list[Any]:
        """Wait for the next item."""
        message = self._come.get()
        if message is None:
            self._come.put(None)  # for whoever asks again
            raise ChannelClosedError
        if isinstance(message, str):
            raise ItemFailedError(message)
        return message

    def release(self) -> None:
        """Give the item's place back."""
        self.released += 1
        # A sender that has gone needs no place; that it has is noticed at the next item.
        with contextlib.suppress(OSError):
            self._socket.send(b".")

    def stop(self) -> None:
        """Wake whoever waits here; nothing more comes."""
        end(self._socket)

    def close(self) -> None:
        """Close the connection."""
        end(self._socket)
        if self._thread is not threading.current_thread():
            self._thread.join()
