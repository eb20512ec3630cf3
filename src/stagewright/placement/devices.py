# SPDX-License-Identifier: Apache-2.0
"""Devices of several kinds, and in which order a pipeline may take them.

A stage on a device pays for what it computes and for the tensors that it receives and sends, at the prices
of that device's links.  A kind may be slower or faster from node to node, unable to run some nodes, have its
own memory, and transfer for free (a host's CPU whose transfers the accelerators pay).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Final

from ..errors import InputError
from ..units import INT64_MAX, PS_PER_SECOND, seconds_from_ps
from .chunks import in_flight
from .schedule import Schedule

__all__ = ["UNABLE", "Fleet", "Kind", "Link", "Seat"]

UNABLE: Final = -1
"""The work of a node on a kind of device that cannot run it."""

_MOST_STATES: Final = 2**20
_LARGEST: Final = INT64_MAX // 4


@dataclass(frozen=True)
class Link:
    """What a tensor costs the stage at one end: bytes per second, and picoseconds added to each.

    ``bandwidth`` is None where no tensor is given in bytes.  Whatever a `free` link carries costs
    nothing, tensors priced as times included.
    """

    bandwidth: int | None = None
    latency: int = 0
    free: bool = False

    def __post_init__(self) -> None:
        if self.bandwidth is not None and not 0 < self.bandwidth <= _LARGEST:
            raise InputError("bandwidth", "whole bytes per second above 0", repr(self.bandwidth))
        if not 0 <= self.latency <= _LARGEST:
            raise InputError("latency", "whole picoseconds >= 0", repr(self.latency))

    def price(self, nbytes: int, time: int) -> int:
        """Return picoseconds for a tensor of `nbytes`, or of `time` where that is >= 0.

        Raises
        ------
        InputError
            If the tensor is given in bytes and the link has no bandwidth.
        """
        if self.free:
            return 0
        if time >= 0:
            return time
        if self.bandwidth is None:
            raise InputError(
                "bandwidth",
                "one for every kind of device, since some tensor is given in bytes",
                "none",
                "Give the kind a 'link' or a 'bandwidth'.",
            )
        return self.latency - (-nbytes * PS_PER_SECOND // self.bandwidth)

    def prices(self, sizes: Sequence[int], times: Sequence[int]) -> tuple[int, ...]:
        """Return :meth:`price` of every tensor."""
        if self.free:
            return (0,) * len(times)
        if min(times, default=0) >= 0:
            return tuple(times)
        return tuple(map(self.price, sizes, times))

    def to_json(self) -> dict[str, Any]:
        """Return the link as a plan file states it."""
        return {
            "bandwidth": self.bandwidth,
            "latency": seconds_from_ps(self.latency),
            **({"free": True} if self.free else {}),
        }


@dataclass(frozen=True)
class Kind:
    """Devices that are alike.

    Attributes
    ----------
    name
        What people call the kind.
    count
        How many of them there are, at least 1.
    link
        What a tensor costs a stage on such a device, received or sent.
    work
        Picoseconds of each node, `UNABLE` where the kind cannot run it; None for the graph's own work.
    memory, memory_limit
        Bytes beyond which a stage streams what it holds through the link, and bytes beyond which it is
        refused; None for no such limit.
    cost
        What one device costs, in whatever unit; chooses the cheapest devices that reach a rate.
    host
        Where the devices are, for readers of the plan; links say what that means for costs.
    """

    name: str
    count: int
    link: Link = Link()
    work: tuple[int, ...] | None = None
    memory: int | None = None
    memory_limit: int | None = None
    cost: int = 1
    host: str = ""

    def __post_init__(self) -> None:
        item = f"device '{self.name}'"
        if not self.name:
            raise InputError("device", "a kind with a name", "none")
        if not 1 <= self.count <= _MOST_STATES:
            raise InputError(f"{item}: count", "a whole number from 1 to 1048576", repr(self.count))
        for what, size in (("memory", self.memory), ("memory limit", self.memory_limit)):
            if size is not None and not 0 <= size <= _LARGEST:
                raise InputError(f"{item}: {what}", "whole bytes >= 0", repr(size))
        if self.memory is not None and self.link.bandwidth is None:
            raise InputError(
                f"{item}: memory",
                "a bandwidth beside it (what does not fit is streamed through the link)",
                "none",
                "Give the kind a bandwidth, or a memory_limit, which refuses instead.",
            )
        if self.cost < 0:
            raise InputError(f"{item}: cost", "a whole number >= 0", repr(self.cost))
        if self.work is not None and any(w < UNABLE or w > _LARGEST for w in self.work):
            raise InputError(f"{item}: work", "picoseconds >= 0 or unable", "another number")

    def spill_time(self, held: int) -> int:
        """Return picoseconds to stream what a stage that holds so many bytes holds too much."""
        if self.memory is None or held <= self.memory:
            return 0
        return -(-(held - self.memory) * PS_PER_SECOND // (self.link.bandwidth or 1))

    def fits(self, held: int) -> bool:
        """Whether a stage may hold so many bytes."""
        return self.memory_limit is None or held <= self.memory_limit


@dataclass(frozen=True)
class Seat:
    """Where and how a stage may run: a kind, and the links that it receives and sends through.

    In training with a schedule also on how many devices, and whether it recomputes its forward pass.  Seats that
    are equal in all this are one.
    """

    kind: int
    receive: Link
    send: Link
    replicas: int = 1
    recompute: bool = False

    def shared(self, time: int) -> int:
        """Return the part of one of the replicas, rounded up."""
        return -(-time // self.replicas)


@dataclass(frozen=True)
class Fleet:
    """The devices of a pipeline.

    Attributes
    ----------
    kinds
        At least one; names are unique.
    order
        The kind of each place along the pipeline, where the order is fixed; None where stages may take
        devices in any order.  Places may stay empty.
    links
        The links between neighbouring places of a fixed order, one fewer than places.  A stage
        receives through the link before its place and sends through the one behind it, whoever made or
        needs the tensor.  None: every stage pays at its kind's own link.
    overlap
        Whether a stage computes, receives and sends at the same time, so that it takes the longest of
        the three instead of their sum.
    schedule
        How a pipeline of any order trains; what stages hold and what they may do depends on it.
    shared
        Whether a device may run several stages (:mod:`.sharing`).  Then a plan names devices by their number:
        those of the first kind, those of the second, and so on.
    """

    kinds: tuple[Kind, ...]
    order: tuple[int, ...] | None = None
    links: tuple[Link, ...] | None = None
    overlap: bool = False
    schedule: Schedule | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        names = [kind.name for kind in self.kinds]
        if not names:
            raise InputError("devices", "at least one kind", "none")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"device '{name}'", "each kind once", "it a second time")
        if self.order is not None:
            for q, kind in enumerate(self.kinds):
                if (used := self.order.count(q)) != kind.count:
                    raise InputError(
                        f"order: device '{kind.name}'", f"all {kind.count} places", str(used)
                    )
            if len(self.order) != sum(kind.count for kind in self.kinds):
                raise InputError("order", "places of the kinds given", "another kind")
        if self.schedule is not None and self.order is not None:
            raise InputError("schedule", "devices in any order", "a fixed order")
        if self.schedule is not None and self.schedule.interleaved:
            self._require_rounds(self.schedule)
        if self.links is not None:
            places = None if self.order is None else len(self.order)
            if places is None:
                raise InputError("links between neighbours", "a fixed order of devices", "none")
            if len(self.links) != places - 1:
                raise InputError(
                    "links", f"{places - 1}, between {places} places", str(len(self.links))
                )
        if self.shared and self.order is not None:
            raise InputError("shared devices", "devices in any order", "a fixed order")
        if self.shared and self.schedule is not None:
            raise InputError("shared devices", "inference", "a schedule of training")
        if not self.shared and self.states > _MOST_STATES:
            raise InputError(
                "devices",
                f"kinds whose numbers allow at most {_MOST_STATES} combinations",
                str(self.states),
                "Plan with fewer kinds, or give a fixed order.",
            )

    def _require_rounds(self, schedule: Schedule) -> None:
        """Refuse what does not go with interleaved chunks."""
        if self.stages < 2:
            raise InputError("schedule interleaved", "at least 2 devices", str(self.stages))
        if schedule.microbatches % self.stages:
            raise InputError(
                "microbatches",
                f"a multiple of the {self.stages} devices, which run interleaved chunks in rounds of as many",
                str(schedule.microbatches),
            )
        for kind in self.kinds:
            if kind.memory is not None:
                raise InputError(
                    f"device '{kind.name}': memory",
                    "a memory_limit where chunks are interleaved, since nothing is streamed then",
                    f"{kind.memory} bytes",
                    "Give --memory-limit, or memory_limit in the machine file.",
                )

    @property
    def stages(self) -> int:
        """The most stages that a plan may have: the number of devices."""
        return sum(kind.count for kind in self.kinds)

    @property
    def states(self) -> int:
        """In how many ways devices may be in use: numbers of each kind, or places of a fixed order."""
        if self.order is not None:
            return len(self.order) + 1
        if self.schedule is not None and self.schedule.interleaved:
            return self.stages * self.schedule.chunks + 1
        states = 1
        for kind in self.kinds:
            states *= kind.count + 1
        return states

    @cached_property
    def seats(self) -> tuple[Seat, ...]:
        """The different seats."""
        if self.schedule is not None:
            return tuple(
                Seat(q, kind.link, kind.link, replicas, recompute)
                for q, kind in enumerate(self.kinds)
                for replicas in range(1, min(self.schedule.replicas, kind.count) + 1)
                for recompute in self.schedule.choices
            )
        return tuple(dict.fromkeys(self._seat_of_place(i) for i in range(self._places)))

    @property
    def _places(self) -> int:
        if self.shared:
            return self.stages
        return len(self.kinds) if self.order is None else len(self.order)

    @cached_property
    def kind_of(self) -> tuple[int, ...]:
        """The kind of each device, by its number where devices are shared or hold interleaved chunks."""
        return tuple(q for q, kind in enumerate(self.kinds) for _ in range(kind.count))

    def _seat_of_place(self, place: int) -> Seat:
        """Return the seat of a place of the fixed order, of a shared device, or else of a kind."""
        if self.shared:
            place = self.kind_of[place]
        kind = place if self.order is None else self.order[place]
        own = self.kinds[kind].link
        if self.links is None:
            return Seat(kind, own, own)
        # Nothing arrives at the first place and nothing leaves the last one.
        before = self.links[place - 1] if place else None
        behind = self.links[place] if place < len(self.links) else None
        return Seat(kind, before or behind or own, behind or before or own)

    def transitions(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (state, next state, seat, place, kept): what one more stage may take; sorted by state.

        State 0 is that of no device in use; states grow.  `place` is the place of a fixed order, or the
        kind where there is none.  With a schedule stages are taken from the end, `place` is the seat, and
        `kept` the number of microbatches that the stage keeps beside the one that it runs; otherwise 0.
        """
        if self.schedule is not None and self.interleaved:
            yield from self._rounds(self.schedule)
            return
        number = {seat: i for i, seat in enumerate(self.seats)}
        places = range(self._places) if self.schedule is None else ()
        seat_of = [number[self._seat_of_place(i)] for i in places]
        if self.order is not None:
            for state in range(self._places):
                for place in range(state, self._places):
                    yield state, place + 1, seat_of[place], place, 0
            return
        sizes = [kind.count + 1 for kind in self.kinds]
        steps = [1] * len(sizes)
        for q in range(len(sizes) - 2, -1, -1):
            steps[q] = steps[q + 1] * sizes[q + 1]
        for state, used in enumerate(product(*map(range, sizes))):
            if self.schedule is not None:
                for s, seat in enumerate(self.seats):
                    if used[seat.kind] + seat.replicas <= self.kinds[seat.kind].count:
                        kept = self.schedule.in_flight(seat.replicas, sum(used) + seat.replicas) - 1
                        yield state, state + seat.replicas * steps[seat.kind], s, s, kept
                continue
            for q, kind in enumerate(self.kinds):
                if used[q] < kind.count:
                    yield state, state + steps[q], seat_of[q], q, 0

    def _rounds(self, schedule: Schedule) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield transitions where chunks are interleaved: the s-th stage of p v is on device s mod p."""
        last = self.stages * schedule.chunks - 1
        for state in range(last + 1):
            device = (last - state) % self.stages
            for s, seat in enumerate(self.seats):
                if seat.kind == self.kind_of[device]:
                    yield state, state + 1, s, s, self.in_flight(seat, state) - 1

    @property
    def interleaved(self) -> bool:
        """Whether devices take turns with several chunks of a pipeline that trains."""
        return self.schedule is not None and self.schedule.interleaved

    def in_flight(self, seat: Seat, behind: int) -> int:
        """Return the most microbatches that one device keeps of a stage, by the number of devices of later stages.

        Where chunks are interleaved, later stages count instead.  1 without a schedule.
        """
        if self.schedule is None:
            return 1
        if not self.schedule.interleaved:
            return self.schedule.in_flight(seat.replicas, behind + seat.replicas)
        chunks = self.schedule.chunks
        chunk, rank = divmod(max(0, self.stages * chunks - 1 - behind), self.stages)
        return in_flight(rank, self.stages, chunks, self.schedule.microbatches)[chunk]

    def costs(self) -> list[int]:
        """Return what the devices in use cost in each state.

        Raises
        ------
        InputError
            If the order is fixed, whose states do not say which places are empty.
        """
        if self.order is not None:
            raise InputError("objective cost", "devices in any order", "a fixed order")
        used = product(*(range(kind.count + 1) for kind in self.kinds))
        prices = [kind.cost for kind in self.kinds]
        return [sum(n * c for n, c in zip(row, prices, strict=True)) for row in used]

    def seat_at(self, place: int) -> Seat:
        """Return the seat of a place of the fixed order, of a shared device, or else of a kind.

        With a schedule places are seats.
        """
        return self.seats[place] if self.schedule is not None else self._seat_of[place]

    @cached_property
    def _seat_of(self) -> tuple[Seat, ...]:
        return tuple(map(self._seat_of_place, range(self._places)))

    def sync_rate(self, seat: Seat) -> tuple[int, int]:
        """Return what adding gradients up takes of a seat per parameter byte, as :meth:`Schedule.sync_rate`."""
        link = self.kinds[seat.kind].link
        if self.schedule is None or link.free:
            return 0, 1
        return self.schedule.sync_rate(seat.replicas, link.bandwidth)

    def sync_time(self, seat: Seat, params: int) -> int:
        """Return the picoseconds per microbatch that adding gradients of so many bytes up takes."""
        rate, per = self.sync_rate(seat)
        return -(-params * rate // per)

    def to_json(self, node_count: int) -> list[dict[str, Any]]:
        """Return the kinds as a plan file states them; work in exact decimals of seconds, null where unable."""
        return [self._kind_json(kind, node_count) for kind in self.kinds]

    @staticmethod
    def _kind_json(kind: Kind, node_count: int) -> dict[str, Any]:
        if kind.work is not None and len(kind.work) != node_count:
            raise InputError(
                f"device '{kind.name}': work", f"{node_count} numbers", str(len(kind.work))
            )
        row: dict[str, Any] = {
            "name": kind.name,
            "count": kind.count,
            "link": kind.link.to_json(),
            "memory": kind.memory,
            "memory_limit": kind.memory_limit,
            **({} if kind.cost == 1 else {"cost": kind.cost}),
            **({"host": kind.host} if kind.host else {}),
        }
        if kind.work is not None:
            row["work"] = [None if w == UNABLE else seconds_from_ps(w) for w in kind.work]
        return row
