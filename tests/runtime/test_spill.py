# SPDX-License-Identifier: Apache-2.0
"""Tensors of no fixed size in shared memory."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stagewright.runtime.channels import RingReceiver, RingSender
from stagewright.runtime.spill import SpillReader, SpillWriter
from stagewright.runtime.wiring import Route
from stagewright.splitting import TensorType


@pytest.fixture
def file() -> Iterator[int]:
    with tempfile.TemporaryFile() as opened:
        yield opened.fileno()


def test_arrays_come_back_in_place(file: int) -> None:
    rng = np.random.default_rng(0)
    writer, reader = SpillWriter(file, 3), SpillReader(file, 3)
    for i in range(200):
        shapes = [tuple(rng.integers(0, 30, rng.integers(0, 4))) for _ in range(3)]
        kinds = rng.choice(["f4", "i8", "u1", "f2", "?"], 3)
        arrays = [
            rng.integers(0, 2, shape).astype(kind)
            for shape, kind in zip(shapes, kinds, strict=True)
        ]
        arrays[0] = arrays[0].T
        slot = i % 3
        places = writer.put(slot, arrays)
        for array, place in zip(arrays, places, strict=True):
            got = reader.get(slot, place)
            assert (got.shape, got.dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(got, array)


def test_slots_do_not_touch_each_other(file: int) -> None:
    writer, reader = SpillWriter(file, 2), SpillReader(file, 2)
    first = writer.put(0, [np.full(1000, 1.0)])
    held = reader.get(0, first[0])
    for size in (10, 5_000, 70_000):
        place = writer.put(1, [np.full(size, 2.0)])[0]
        assert (reader.get(1, place) == 2).all()
        assert (held == 1).all()


def test_the_file_stays_within_a_multiple_of_the_largest_items(file: int) -> None:
    writer = SpillWriter(file, 2)
    for size in range(1, 300_000, 999):
        for slot in range(2):
            writer.put(slot, [np.zeros(size, np.uint8)])
    assert 2 * 300_000 < os.fstat(file).st_size + 5_000 < 4 * 2 * 300_000
    kept = os.fstat(file).st_size
    for slot in (0, 1) * 50:
        writer.put(slot, [np.zeros(200_000, np.uint8)])
    assert os.fstat(file).st_size == kept


class Mailbox:
    """A pipe's both ends."""

    message = b""

    def send_bytes(self, message: bytes) -> None:
        self.message = message

    def recv_bytes(self) -> bytes:
        return self.message


def test_what_goes_through_the_pipe_stays_short(file: int) -> None:
    types = [
        TensorType("free", "tensor(float)", ("N", 2), None),
        TensorType("words", "tensor(string)", (1,), None),
        TensorType("fixed", "tensor(float)", (3,), 12),
    ]
    route, memory, box = Route(0, 1, tuple(types), 2), mmap.mmap(-1, mmap.PAGESIZE), Mailbox()
    ends: Any = (route, memory, 0, box, 0, file)
    sender, receiver = RingSender(*ends), RingReceiver(*ends)
    assert route.spills
    assert not Route(0, 1, tuple(types[1:]), 2).spills
    values = [np.ones((70_000, 2), np.float32), np.array(["ab"], object), np.zeros(3, np.float32)]
    sender.send(values)
    assert len(box.message) < 1_000
    got = receiver.recv()
    for value, expected in zip(got, values, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert got[0].base is not None
