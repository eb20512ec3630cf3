# SPDX-License-Identifier: Apache-2.0
"""Bounded, ordered channels between stages: in shared memory across processes, or in one process.

Across processes an item is copied once, by the sender, into a slot of a ring that both sides map, or, where
its size is not fixed, into memory that grows (:mod:`.spill`); only strings and sequences are pickled.  A byte in a pipe says that it is there, a byte in a second pipe gives the slot back.  The
kernel closes the pipes of a process however it ends, so the other side never waits for the dead.

An item that failed travels too, as the text that says why: every channel carries one message per
item, so the n-th of each always belong together.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from threading import Condition
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .spill import Spilled, SpillReader, SpillWriter
from .wiring import Route, array_element, shared_layout, stored_shape

__all__ = [
    "ChannelClosedError",
    "ItemFailedError",
    "LocalChannel",
    "Receiver",
    "RingReceiver",
    "RingSender",
    "Sender",
]

_NOTHING_LOOSE = b"."
_FAILED = b"!"


class ChannelClosedError(Exception):
    """The other side has gone."""


class ItemFailedError(Exception):
    """The item that was to come failed on its way; the text names the stage and the cause."""


class Sender(Protocol):
    """The giving end of a channel.

    `sent` counts the items handed over, `waited` sums the seconds it has waited for room.
    """

    route: Route
    sent: int
    waited: float

    def room(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return where the next item's tensors may be written in place, by name; never wait."""

    def send(self, values: Sequence[Any]) -> None:
        """Hand over the values of one item, in the route's order; wait while it is full."""

    def fail(self, text: str) -> None:
        """Hand over the news that an item failed in place of its values."""

    def close(self) -> None:
        """Let go of this end; the other side learns of it."""


class Receiver(Protocol):
    """The taking end of a channel; `released` counts the items done with."""

    route: Route
    released: int

    def recv(self) -> list[Any]:
        """Wait for the next item; its values hold until :meth:`release`.

        Raises
        ------
        ItemFailedError
            If the item failed on its way; it is to be released like any other.
        ChannelClosedError
            If the other side has gone.
        """

    def release(self) -> None:
        """Give the item's place back."""

    def close(self) -> None:
        """Let go of this end; the other side learns of it."""


def _views(route: Route, memory: Any, start: int) -> list[list[npt.NDArray[Any] | None]]:
    """Return, for each slot, the array of each tensor of fixed size."""
    offsets, stride = shared_layout(route)
    slots: list[list[npt.NDArray[Any] | None]] = []
    for slot in range(route.slots):
        views: list[npt.NDArray[Any] | None] = []
        for tensor, offset in zip(route.tensors, offsets, strict=True):
            element, shape = array_element(tensor), stored_shape(tensor)
            if offset is None or element is None or shape is None:
                views.append(None)
            else:
                place = start + slot * stride + offset
                views.append(np.ndarray(shape, element.dtype, memory, place))
        slots.append(views)
    return slots


class RingSender:
    """Writes items into a ring in shared memory.

    Parameters
    ----------
    route
        What is sent.
    memory, start
        The shared memory and where in it the ring begins.
    items
        Pipe to the receiver: one message per item, with the values that have no fixed size.
    credits_fd
        Pipe from the receiver: one byte per slot given back.
    spill_fd
        File for tensors of no fixed size; -1 for none, then they are pickled into the pipe.
    """

    def __init__(
        self,
        route: Route,
        memory: Any,
        start: int,
        items: Connection,
        credits_fd: int,
        spill_fd: int = -1,
    ) -> None:
        self.route = route
        self._slots = _views(route, memory, start)
        self._items, self._credits_fd = items, credits_fd
        self._spill_fd = spill_fd
        self._spill = SpillWriter(spill_fd, route.slots) if spill_fd >= 0 else None
        self._credits = select.poll()
        self._credits.register(credits_fd, select.POLLIN)
        self._free, self._next = route.slots, 0
        self.waited = 0.0
        self.sent = 0

    def room(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the arrays of the next slot, by name; none while every slot is taken."""
        if not self._free:
            if not self._credits.poll(0):
                return {}
            self._wait_for_slot()
        slot = zip(self.route.names, self._slots[self._next], strict=True)
        return {name: view for name, view in slot if view is not None}

    def send(self, values: Sequence[Any]) -> None:
        """Hand over one item; wait while every slot is taken.

        Values that lie in the slot already, as :meth:`room` offered it, are not copied.
        """
        if not self._free:
            self._wait_for_slot()
        loose: list[tuple[int, Any]] = []
        for i, view in enumerate(self._slots[self._next]):
            value = values[i]
            # A size that differs from what the model file promised travels like an unknown one.
            if value is view:
                continue
            if view is not None and value.shape == view.shape and value.dtype == view.dtype:
                np.copyto(view, value)
            else:
                loose.append((i, value))
        self._tell(self._packed(loose) if loose else _NOTHING_LOOSE)

    def _packed(self, loose: list[tuple[int, Any]]) -> bytes:
        """Return the message about values that have no place in the slot."""
        spilled: list[tuple[int, Spilled]] = []
        if self._spill is not None:
            there = [
                (i, v) for i, v in loose if isinstance(v, np.ndarray) and v.dtype.kind in "biuf"
            ]
            places = self._spill.put(self._next, [value for _, value in there])
            spilled = [(i, place) for (i, _), place in zip(there, places, strict=True)]
            loose = [(i, v) for i, v in loose if all(i != j for j, _ in there)]
        return pickle.dumps((spilled, loose), protocol=5)

    def fail(self, text: str) -> None:
        """Hand over why an item failed; it takes a slot like any other."""
        if not self._free:
            self._wait_for_slot()
        self._tell(_FAILED + text.encode(errors="replace"))

    def _tell(self, message: bytes) -> None:
        try:
            self._items.send_bytes(message)
        except OSError:
            raise ChannelClosedError from None
        self._free -= 1
        self._next = (self._next + 1) % self.route.slots
        self.sent += 1

    def _wait_for_slot(self) -> None:
        start = perf_counter()
        try:
            given = len(os.read(self._credits_fd, 4096))
        except OSError:
            given = 0
        self.waited += perf_counter() - start
        if not given:
            raise ChannelClosedError
        self._free += given

    def close(self) -> None:
        """Close both pipes and the file."""
        self._slots, self._spill = [], None
        if self._spill_fd >= 0:
            os.close(self._spill_fd)
            self._spill_fd = -1
        self._items.close()
        with contextlib.suppress(OSError):
            os.close(self._credits_fd)


class RingReceiver:
    """Reads items in place from a ring in shared memory; parameters as of :class:`RingSender`."""

    def __init__(
        self,
        route: Route,
        memory: Any,
        start: int,
        items: Connection,
        credits_fd: int,
        spill_fd: int = -1,
    ) -> None:
        self.route = route
        self._slots = _views(route, memory, start)
        self._items, self._credits_fd = items, credits_fd
        self._spill_fd = spill_fd
        self._spill = SpillReader(spill_fd, route.slots) if spill_fd >= 0 else None
        self._next = self.released = 0

    def recv(self) -> list[Any]:
        """Wait for the next item."""
        try:
            message = self._items.recv_bytes()
        except (EOFError, OSError):
            raise ChannelClosedError from None
        slot = self._next
        values: list[Any] = list(self._slots[slot])
        self._next = (slot + 1) % self.route.slots
        if message.startswith(_FAILED):
            raise ItemFailedError(message[1:].decode())
        if message != _NOTHING_LOOSE:
            spilled, loose = pickle.loads(message)
            for i, value in loose:
                values[i] = value
            if self._spill is not None:
                for i, place in spilled:
                    values[i] = self._spill.get(slot, place)
        return values

    def release(self) -> None:
        """Give the slot back."""
        self.released += 1
        # A sender that has gone needs no slot; that it has is noticed at the next item.
        with contextlib.suppress(OSError):
            os.write(self._credits_fd, b".")

    def close(self) -> None:
        """Close both pipes and the file."""
        self._slots, self._spill = [], None
        if self._spill_fd >= 0:
            os.close(self._spill_fd)
            self._spill_fd = -1
        self._items.close()
        with contextlib.suppress(OSError):
            os.close(self._credits_fd)


class LocalChannel:
    """Both ends of a channel within one process; arrays are handed over, not copied."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self._waiting: deque[Sequence[Any] | ItemFailedError] = deque()
        self._taken = self.sent = self.released = 0
        self._changed = Condition()
        self._closed = False
        self.waited = 0.0

    def room(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return nothing: arrays are handed over as they are."""
        return {}

    def send(self, values: Sequence[Any]) -> None:
        """Hand over one item; wait while the channel is full."""
        self._put(values)

    def fail(self, text: str) -> None:
        """Hand over why an item failed."""
        self._put(ItemFailedError(text))

    def _put(self, values: Sequence[Any] | ItemFailedError) -> None:
        start = perf_counter()
        with self._changed:
            while not self._closed and len(self._waiting) + self._taken >= self.route.slots:
                self._changed.wait()
            self.waited += perf_counter() - start
            if self._closed:
                raise ChannelClosedError
            self._waiting.append(values)
            self.sent += 1
            self._changed.notify_all()

    def recv(self) -> list[Any]:
        """Wait for the next item."""
        with self._changed:
            while not self._closed and not self._waiting:
                self._changed.wait()
            if self._closed:
                raise ChannelClosedError
            self._taken += 1
            values = self._waiting.popleft()
        if isinstance(values, ItemFailedError):
            raise values
        return list(values)

    def release(self) -> None:
        """Give the item's place back."""
        with self._changed:
            self._taken -= 1
            self.released += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wake everyone who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
