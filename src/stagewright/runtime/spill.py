# SPDX-License-Identifier: Apache-2.0
"""Room in shared memory for tensors whose size is known only when they are there.

Each slot of a ring has a region of its own in a file without a name, which its sender makes longer as it must;
the receiver maps what the message names.  A region that became too small is left behind and one of at least twice
its size taken, so that all of them together take less than four times the largest items.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SpillReader", "SpillWriter", "Spilled"]

_ALIGNMENT = 64

Spilled = tuple[tuple[int, ...], str, int, int, int]
"""Shape, element type, where the region begins, its size, and where in it the array begins."""


def _aligned(nbytes: int, to: int) -> int:
    return -(-nbytes // to) * to


class SpillWriter:
    """Puts arrays into the regions of a file; the descriptor stays the caller's.

    Parameters
    ----------
    fd
        The file.
    slots
        How many regions are in use at once.
    """

    def __init__(self, fd: int, slots: int) -> None:
        self._fd, self._end = fd, 0
        self._regions: list[tuple[int, mmap.mmap] | None] = [None] * slots

    def put(self, slot: int, arrays: Sequence[npt.NDArray[Any]]) -> list[Spilled]:
        """Copy arrays into a slot's region and return where they are."""
        ends = [0]
        for array in arrays:
            ends.append(ends[-1] + _aligned(array.nbytes, _ALIGNMENT))
        start, memory = self._region(slot, ends[-1])
        found: list[Spilled] = []
        for array, place in zip(arrays, ends, strict=False):
            if array.nbytes:
                np.copyto(np.ndarray(array.shape, array.dtype, memory, place), array)
            found.append((array.shape, array.dtype.str, start, len(memory), place))
        return found

    def _region(self, slot: int, nbytes: int) -> tuple[int, mmap.mmap]:
        region = self._regions[slot]
        if region is None or len(region[1]) < nbytes:
            size = _aligned(max(nbytes, 2 * len(region[1]) if region else 0, 1), mmap.PAGESIZE)
            start, self._end = self._end, self._end + size
            if os.fstat(self._fd).st_size < self._end:
                os.truncate(self._fd, self._end)
            region = start, mmap.mmap(self._fd, size, offset=start)
            self._regions[slot] = region
        return region


class SpillReader:
    """Finds arrays that a :class:`SpillWriter` has put into a file; parameters as there."""

    def __init__(self, fd: int, slots: int) -> None:
        self._fd = fd
        self._regions: list[tuple[int, mmap.mmap] | None] = [None] * slots

    def get(self, slot: int, place: Spilled) -> npt.NDArray[Any]:
        """Return an array in place."""
        shape, dtype, start, size, offset = place
        if not math.prod(shape):
            return np.empty(shape, dtype)
        region = self._regions[slot]
        if region is None or region[0] != start or len(region[1]) != size:
            # Whatever was mapped before ends with the last array that lies in it.
            region = start, mmap.mmap(self._fd, size, offset=start)
            self._regions[slot] = region
        return np.ndarray(shape, dtype, region[1], offset)
