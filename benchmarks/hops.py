# SPDX-License-Identifier: Apache-2.0
"""What a hop between two stages costs, by the size of the tensor, against a plain copy of its bytes.

Two processes on two cores, joined by the rings that pipelines use.  One-way times come from round trips: a
tensor goes over, an empty item comes back; half a round trip of empty items is taken off.  `send` is what the
sender is busy for.  `copy` is numpy's copy of the same bytes within one process, into as many places as the ring
has, one after the other, in turns with the hops.  `in place` is a hop whose tensor was computed in the ring itself, as stages do where its size is
fixed and there is room: nothing is copied then.  All are medians over the quicker half of the repetitions, as in
profiles, for other programs may use the cores as well.
"""

from __future__ import annotations

import argparse
import mmap
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.common import header, row, table

from stagewright.runtime.channels import ChannelClosedError, RingReceiver, RingSender
from stagewright.runtime.wiring import Route, shared_layout
from stagewright.splitting.manifest import TensorType
from stagewright.units import format_bytes

_DEPTH = 2
_TURNS = 4
_EMPTY = Route(0, 1, (), _DEPTH)


@dataclass
class Ring:
    """A ring between this process and one forked from it."""

    sender: RingSender
    receiver: RingReceiver

    @classmethod
    def make(cls, route: Route) -> Ring:
        """Make a ring for the tensors of a route."""
        memory = mmap.mmap(-1, max(mmap.PAGESIZE, shared_layout(route)[1] * route.slots))
        items_out, items_in = multiprocessing.Pipe(duplex=False)
        credits_out, credits_in = os.pipe()
        return cls(
            RingSender(route, memory, 0, items_in, credits_out),
            RingReceiver(route, memory, 0, items_out, credits_in),
        )


@dataclass(frozen=True)
class Hop:
    """Typical seconds for one size."""

    one_way: float
    in_place: float
    send: float
    copy: float

    @property
    def overhead(self) -> float:
        """What a hop takes longer than copying."""
        return self.one_way - self.copy


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smallest", type=int, default=10, help="power of two (10: 1 KiB)")
    parser.add_argument("--largest", type=int, default=26, help="power of two (26: 64 MiB)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each size and way (1)")
    options = parser.parse_args()
    header("What a hop costs")
    table(
        [
            "tensor",
            "one way us",
            "copy us",
            "overhead us",
            "one way / copy",
            "send us",
            "in place us",
        ]
    )
    for power in range(options.smallest, options.largest + 1, 2):
        hop = measure_hop(2**power, options.seconds)
        row(
            [
                format_bytes(2**power),
                *(f"{1e6 * t:.1f}" for t in (hop.one_way, hop.copy, hop.overhead)),
                f"{hop.one_way / hop.copy:.2f}",
                f"{1e6 * hop.send:.1f}",
                f"{1e6 * hop.in_place:.1f}",
            ]
        )
    return 0


def measure_hop(nbytes: int, seconds: float) -> Hop:
    """Measure hops of one tensor of so many bytes, for about `seconds` in each way."""
    tensor = TensorType("t", "tensor(uint8)", (nbytes,), nbytes)
    route, data = Route(0, 1, (tensor,), _DEPTH), np.arange(nbytes, dtype=np.uint8)
    copier = _copier(data)
    empty, _, _ = _round_trips(_EMPTY, [], copier, seconds)
    in_place, _, _ = _round_trips(route, None, copier, seconds)
    trip, send, copy = _round_trips(route, [data], copier, seconds)
    return Hop(trip - empty / 2, in_place - empty / 2, send, copy)


def _round_trips(
    route: Route, values: list[Any] | None, copy: Callable[[], float], seconds: float
) -> tuple[float, float, float]:
    """Return typical times of a round trip, of the sending in it, and of copies made in turns with them.

    None for values means that they are made in place.
    """
    over, back = Ring.make(route), Ring.make(_EMPTY)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    worker = multiprocessing.get_context("fork").Process(
        target=_answer, args=(over, back, cores[-1:])
    )
    worker.start()
    _keep(over.sender, back.receiver, rings=(over, back))
    _pin(cores[:1])
    sends: list[float] = []

    def send() -> None:
        into = [] if values else list(over.sender.room().values())
        start = perf_counter()
        over.sender.send(values or into)
        sends.append(perf_counter() - start)

    def answer() -> None:
        back.receiver.recv()
        back.receiver.release()

    def trip() -> float:
        start = perf_counter()
        send()
        answer()
        return perf_counter() - start

    try:
        trips: list[float] = []
        copies: list[float] = []
        for _ in range(_TURNS):
            trips += _repeat(trip, seconds / 2 / _TURNS)
            copies += _repeat(copy, seconds / 2 / _TURNS)
    finally:
        over.sender.close()
        back.receiver.close()
        worker.join()
        _pin(cores)
    return _typical(trips), _typical(sends), _typical(copies)


def _answer(over: Ring, back: Ring, cores: list[int]) -> None:
    """Take each item and answer it; runs in the other process."""
    _pin(cores)
    _keep(over.receiver, back.sender, rings=(over, back))
    try:
        while True:
            over.receiver.recv()
            over.receiver.release()
            back.sender.send([])
    except ChannelClosedError:
        os._exit(0)


def _keep(*ends: Any, rings: tuple[Ring, ...]) -> None:
    """Close the other process's ends, so that each process alone decides when a pipe ends."""
    for ring in rings:
        for end in (ring.sender, ring.receiver):
            if not any(end is kept for kept in ends):
                end.close()


def _pin(cores: list[int]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _repeat(run: Callable[[], float], seconds: float) -> list[float]:
    """Run at least 10 times, and so long; the first tenth warms up and does not count."""
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < 10 or perf_counter() < end:
        times.append(run())
    return times[len(times) // 10 :]


def _typical(times: list[float]) -> float:
    """Return the median over the quicker half."""
    return median(sorted(times)[: (len(times) + 1) // 2])


def _copier(data: Any) -> Callable[[], float]:
    places = [np.empty_like(data) for _ in range(_DEPTH)]
    turn = 0

    def copy() -> float:
        nonlocal turn
        turn += 1
        start = perf_counter()
        np.copyto(places[turn % _DEPTH], data)
        return perf_counter() - start

    return copy


if __name__ == "__main__":
    sys.exit(main())
