# SPDX-License-Identifier: Apache-2.0
"""The machine: how many stages, how fast the links, how much fast memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from .errors import InputError
from .units import INT64_MAX, PS_PER_SECOND, seconds_from_ps, to_ps

__all__ = ["Machine"]


@dataclass(frozen=True)
class Machine:
    """A pipeline of equal devices.

    Parameters
    ----------
    stages
        Number of devices, k >= 1.
    bandwidth
        Bytes per second of a link; None when every tensor's cost was given as a time.
    latency
        Picoseconds added to each tensor sent or received (alpha).
    memory
        Bytes of fast memory per device; None for no limit.  What exceeds it is streamed through
        the link on every inference, so a memory needs a bandwidth.
    memory_limit
        Bytes that no stage may exceed with its parameters and its peak; None for no such limit.  It
        refuses plans, where `memory` makes them slower: alone it means that nothing is streamed.
    reserved
        Bytes of both that are not there for the model on the device of each stage, from the first; 0
        for stages beyond.
    """

    stages: int
    bandwidth: int | None = None
    latency: int = 0
    memory: int | None = None
    memory_limit: int | None = None
    reserved: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not _is_int(self.stages) or not 1 <= self.stages <= 2**20:
            raise InputError("stages", "a whole number from 1 to 1048576", repr(self.stages))
        if self.bandwidth is not None and not (
            _is_int(self.bandwidth) and 0 < self.bandwidth <= INT64_MAX
        ):
            raise InputError("bandwidth", "whole bytes per second above 0", repr(self.bandwidth))
        if not _is_int(self.latency) or not 0 <= self.latency <= INT64_MAX // 4:
            raise InputError("latency", "whole picoseconds >= 0", repr(self.latency))
        limit = self.memory_limit
        if limit is not None and not (_is_int(limit) and 0 <= limit <= INT64_MAX):
            raise InputError("memory limit", "whole bytes >= 0", repr(limit))
        if self.memory is not None:
            self._check_memory(self.memory)
        for stage, nbytes in enumerate(self.reserved):
            if not _is_int(nbytes) or nbytes < 0:
                raise InputError(f"reserve of stage {stage}", "whole bytes >= 0", repr(nbytes))
            for size in (self.memory, self.memory_limit):
                if size is not None and nbytes > size:
                    expected = f"at most the memory, {size} bytes"
                    raise InputError(f"reserve of stage {stage}", expected, str(nbytes))

    def _check_memory(self, memory: int) -> None:
        if not _is_int(memory) or not 0 <= memory <= INT64_MAX:
            raise InputError("memory", "whole bytes >= 0", repr(memory))
        if self.bandwidth is None:
            raise InputError(
                "memory",
                "a bandwidth beside it (what does not fit is streamed through the link)",
                "none",
                "Give --bandwidth.",
            )

    def without(self, nbytes: int) -> Machine:
        """Return the machine whose devices have `nbytes` less memory, and limit, for the model.

        Raises
        ------
        InputError
            If there is no memory to take them from, or less.
        """
        least = self.least_memory
        if least is None:
            raise InputError(
                "reserve",
                "a memory to take it from",
                "none",
                "Give --memory or a device that has one.",
            )
        if nbytes > least:
            raise InputError("reserve", f"at most the memory, {least} bytes", str(nbytes))
        left = [None if m is None else m - nbytes for m in (self.memory, self.memory_limit)]
        return replace(self, memory=left[0], memory_limit=left[1])

    def reserving(self, every: int, stages: Mapping[int, int]) -> Machine:
        """Return the machine with `every` bytes less on each device, and more by stage.

        Raises
        ------
        InputError
            If there is no memory to take them from, less, or no such stage.
        """
        beyond = next((stage for stage in stages if not 0 <= stage < self.stages), None)
        if beyond is not None:
            raise InputError("reserve", f"stages from 0 to {self.stages - 1}", str(beyond))
        even = self.without(every)
        if not any(stages.values()):
            return even
        amounts = [stages.get(stage, 0) for stage in range(self.stages)]
        # What all reserve is just less memory.
        least = min(amounts)
        return replace(even.without(least), reserved=tuple(size - least for size in amounts))

    def at(self, stage: int) -> Machine:
        """Return the machine of equal devices like that of one stage."""
        nbytes = self.reserved[stage] if stage < len(self.reserved) else 0
        even = replace(self, reserved=()) if self.reserved else self
        return even.without(nbytes) if nbytes else even

    def is_nowhere_worse_than(self, other: Machine) -> bool:
        """Whether every plan for the other machine is one for this, and costs no stage more.

        Lower bounds for this machine then hold for the other one.
        """
        if self.reserved or other.reserved:
            return replace(self, stages=other.stages) == other and self.stages >= other.stages
        sizes = ((self.memory, other.memory), (self.memory_limit, other.memory_limit))
        return (
            self.stages >= other.stages
            and (
                self.bandwidth == other.bandwidth or (self.bandwidth or 0) > (other.bandwidth or 0)
            )
            and (self.bandwidth is None) == (other.bandwidth is None)
            and self.latency <= other.latency
            and all(a is None or (b is not None and a >= b) for a, b in sizes)
        )

    def transfer_time(self, nbytes: int) -> int:
        """Return ceil(nbytes / bandwidth) in picoseconds, without the latency."""
        if self.bandwidth is None:
            raise InputError(
                "bandwidth",
                "a value, since some tensor is given in bytes",
                "none",
                "Give --bandwidth.",
            )
        return -(-nbytes * PS_PER_SECOND // self.bandwidth)

    def spill_time(self, held: int) -> int:
        """Return the picoseconds of overflow of a stage that holds so many bytes and reserves none."""
        if self.memory is None:
            return 0
        return self.transfer_time(max(0, held - self.memory))

    def fits(self, held: int) -> bool:
        """Whether a stage that reserves nothing may hold so many bytes."""
        return self.memory_limit is None or held <= self.memory_limit

    @property
    def least_memory(self) -> int | None:
        """Bytes below which memory does not matter at all; None where there is no limit."""
        sizes = [m for m in (self.memory, self.memory_limit) if m is not None]
        return min(sizes) - max(self.reserved, default=0) if sizes else None

    def to_json(self) -> dict[str, Any]:
        """Return the `machine` object of a plan file; seconds as exact decimals."""
        limit = {} if self.memory_limit is None else {"memory_limit": self.memory_limit}
        return {
            "stages": self.stages,
            "bandwidth": self.bandwidth,
            "latency": seconds_from_ps(self.latency),
            "memory": self.memory,
            **limit,
            **({"reserved": list(self.reserved)} if self.reserved else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Machine:
        """Read the `machine` object of a plan file.

        Raises
        ------
        InputError
            If it is of devices of several kinds.
        """
        if "devices" in data:
            raise InputError(
                "machine",
                "identical devices",
                "devices of several kinds",
                "Plans for such devices can be checked, split, run, simulated, exported and shown as a page.",
            )
        bandwidth = data.get("bandwidth")
        if bandwidth is not None:
            exact = Fraction(str(bandwidth))
            if exact.denominator != 1:
                raise InputError("machine.bandwidth", "whole bytes per second", str(bandwidth))
            bandwidth = int(exact)
        return cls(
            stages=data["stages"],
            bandwidth=bandwidth,
            latency=to_ps(data.get("latency", 0), "s", item="machine.latency"),
            memory=data.get("memory"),
            memory_limit=data.get("memory_limit"),
            reserved=tuple(data.get("reserved", ())),
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
