# SPDX-License-Identifier: Apache-2.0
"""Which bytes of a storage a view covers, and how the views of one storage fall into parts.

A view is an offset and steps (size, stride), all in bytes.  Steps that stand still (stride 0) are
dropped and steps that continue one another are joined, so that views which differ only in shape or in
the order of their dimensions are the same region.  Regions with different content are compared as
boxes in a mixed-radix system that their strides span; where they span none, they count as touching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import prod
from typing import Any

__all__ = ["Region", "parts"]


@dataclass(frozen=True)
class Region:
    """Bytes of a storage: all `offset` + sum of i_d * stride_d with 0 <= i_d < size_d.

    Attributes
    ----------
    offset
        First byte.
    steps
        (size, stride) pairs, strides descending, sizes above 1.
    """

    offset: int
    steps: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, tensor: Any) -> Region:
        """Return the region that a tensor covers in its storage."""
        width = int(tensor.element_size())
        steps = [(width, 1)] if width > 1 else []
        if tensor.numel() == 0:
            return cls(0, ((0, 1),))
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            steps.append((int(size), int(stride) * width))
        return cls.canonical(int(tensor.storage_offset()) * width, steps)

    @classmethod
    def canonical(cls, offset: int, steps: Sequence[tuple[int, int]]) -> Region:
        """Drop steps that stand still and join those that continue one another."""
        joined: list[tuple[int, int]] = []  # strides ascending
        for stride, size in sorted((stride, size) for size, stride in steps if size > 1 and stride):
            if joined and joined[-1][0] * joined[-1][1] == stride:
                joined[-1] = (joined[-1][0] * size, joined[-1][1])
            else:
                joined.append((size, stride))
        return cls(offset, tuple(reversed(joined)))

    @property
    def nbytes(self) -> int:
        """Bytes covered; windows that overlap one another count at most their span."""
        count = prod(size for size, _ in self.steps)
        span = 1 + sum((size - 1) * stride for size, stride in self.steps)
        return min(count, span) if count else 0

    def touches(self, other: Region) -> bool:
        """Return False only if the two certainly share no byte."""
        if not self.nbytes or not other.nbytes:
            return False
        strides = sorted({1, *(s for _, s in (*self.steps, *other.steps))})
        if any(b % a for a, b in pairwise(strides)):
            return True
        mine, theirs = self._box(strides), other._box(strides)
        if mine is None or theirs is None:
            return True
        return all(
            low < top and bottom < high
            for (low, high), (bottom, top) in zip(mine, theirs, strict=True)
        )

    def _box(self, strides: Sequence[int]) -> list[tuple[int, int]] | None:
        """Return one half-open interval per digit of the mixed-radix system, None if it is no box."""
        sizes = dict.fromkeys(strides, 1)
        for size, stride in self.steps:
            at, left = strides.index(stride), size
            while left > 1:
                # The step runs through the digits above it as far as they are full.
                radix = strides[at + 1] // strides[at] if at + 1 < len(strides) else left
                if left <= radix or left % radix:
                    sizes[strides[at]] *= left
                    break
                sizes[strides[at]] *= radix
                left //= radix
                at += 1
        box, rest = [], self.offset
        for at in reversed(range(len(strides))):
            digit, rest = divmod(rest, strides[at])
            high = digit + sizes[strides[at]]
            if at + 1 < len(strides) and high > strides[at + 1] // strides[at]:
                return None
            box.append((digit, high))
        return box


def parts(regions: Sequence[Region], limit: int) -> list[tuple[list[int], int]]:
    """Group regions that touch; return (indices, bytes) per group, in order of appearance.

    Parameters
    ----------
    limit
        Bytes of the whole storage, which no group exceeds.
    """
    distinct = list(dict.fromkeys(regions))
    leader = list(range(len(distinct)))

    def find(a: int) -> int:
        while leader[a] != a:
            leader[a] = leader[leader[a]]
            a = leader[a]
        return a

    for a, b in combinations(range(len(distinct)), 2):
        if find(a) != find(b) and distinct[a].touches(distinct[b]):
            low, high = sorted((find(a), find(b)))
            leader[high] = low
    where = {region: find(i) for i, region in enumerate(distinct)}
    groups: dict[int, list[int]] = {}
    for i, region in enumerate(regions):
        groups.setdefault(where[region], []).append(i)
    found = []
    for members in groups.values():
        kinds = dict.fromkeys(regions[i] for i in members)
        size = min(limit, sum(region.nbytes for region in kinds), _span(list(kinds)))
        found.append((members, size))
    return found


def _span(regions: Sequence[Region]) -> int:
    """Return the bytes from the first to the last of regions that are not all strided alike."""
    last = max(r.offset + 1 + sum((n - 1) * s for n, s in r.steps) for r in regions)
    return last - min(r.offset for r in regions)
