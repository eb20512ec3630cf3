# SPDX-License-Identifier: Apache-2.0
"""Regions of storages against sets of bytes."""

from __future__ import annotations

import random
from itertools import product

import pytest

from stagewright.readers.torch_region import Region, parts


def members(offset: int, steps: list[tuple[int, int]]) -> set[int]:
    return {
        offset + sum(i * stride for i, (_, stride) in zip(at, steps, strict=True))
        for at in product(*(range(size) for size, _ in steps))
    }


def random_view(rng: random.Random) -> tuple[int, list[tuple[int, int]]]:
    """Slice, permute and sometimes expand a contiguous tensor, as views do."""
    shape = [rng.choice([1, 2, 3, 4, 6]) for _ in range(rng.randint(1, 3))]
    offset, steps, stride = 0, [], 1
    for size in reversed(shape):
        start = rng.randrange(size)
        stop = rng.randint(start + 1, size)
        jump = rng.choice([1, 1, 1, 2])
        offset += start * stride
        steps.append((len(range(start, stop, jump)), stride * jump))
        stride *= size
    if rng.random() < 0.2:
        steps.append((3, 0))
    rng.shuffle(steps)
    return offset, steps


@pytest.mark.parametrize("seed", range(300))
def test_regions_count_and_touch_as_sets_of_bytes_do(seed: int) -> None:
    rng = random.Random(seed)
    views = [random_view(rng) for _ in range(4)]
    regions = [Region.canonical(offset, steps) for offset, steps in views]
    sets = [members(offset, steps) for offset, steps in views]
    for region, content in zip(regions, sets, strict=True):
        assert region.nbytes == len(content)
    for i, j in product(range(4), repeat=2):
        if sets[i] & sets[j]:
            assert regions[i].touches(regions[j])
    limit = 1000
    found = parts(regions, limit)
    assert sorted(i for group, _ in found for i in group) == [0, 1, 2, 3]
    for group, size in found:
        assert max(regions[i].nbytes for i in group) <= size
        assert len(set().union(*(sets[i] for i in group))) <= size <= limit


def test_views_of_one_content_are_one_region() -> None:
    flat = Region.canonical(0, [(24, 4), (4, 1)])
    assert flat == Region.canonical(0, [(3, 32), (8, 4), (4, 1)])
    assert flat == Region.canonical(0, [(8, 4), (4, 1), (1, 7), (3, 32), (5, 0)])


def test_thirds_of_a_fused_projection_are_apart() -> None:
    rows, width = 128, 64
    thirds = [Region.canonical(width * i, [(rows, 3 * width), (width, 1)]) for i in range(3)]
    whole = Region.canonical(0, [(rows * 3 * width, 1)])
    assert [size for _, size in parts(thirds, whole.nbytes)] == [rows * width] * 3
    assert parts([*thirds, whole], whole.nbytes) == [([0, 1, 2, 3], whole.nbytes)]


def test_thirds_interleaved_by_head_are_apart() -> None:
    heads, size = 4, 16
    thirds = [Region.canonical(size * i, [(8 * heads, 3 * size), (size, 1)]) for i in range(3)]
    assert [b for _, b in parts(thirds, 8 * heads * 3 * size)] == [8 * heads * size] * 3


def test_windows_that_overlap_count_their_span() -> None:
    assert Region.canonical(0, [(5, 2), (4, 1)]).nbytes == 12
