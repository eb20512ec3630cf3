# SPDX-License-Identifier: Apache-2.0
"""Channels over connections: what crosses, how much at once, who may connect, and times that are asked for."""

from __future__ import annotations

import pickle
import random
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stagewright.runtime.channels import ChannelClosedError, ItemFailedError
from stagewright.runtime.socket_actor import COUNT, Answer
from stagewright.runtime.socket_link import Link
from stagewright.runtime.sockets import (
    SECRET_BYTES,
    Doorstep,
    Line,
    SocketReceiver,
    SocketSender,
    UnreachableError,
    connect,
)
from stagewright.runtime.stage_loop import RECORDS, RECORDS_BYTES, Times
from stagewright.runtime.wiring import Route

SECRET = secrets.token_bytes(SECRET_BYTES)
LINE = Line(1, 0, 1)


@pytest.fixture
def doorstep() -> Iterator[Doorstep]:
    made = Doorstep("127.0.0.1", SECRET)
    yield made
    made.close()


@pytest.fixture
def channel(doorstep: Doorstep) -> Iterator[tuple[SocketSender, SocketReceiver]]:
    """Both ends of a route with room for three items."""
    route = Route(0, 1, (), slots=3)
    there = connect(doorstep.address, SECRET, LINE)
    here = doorstep.wait_for(LINE, time.monotonic() + 5)
    sender, receiver = SocketSender(route, there), SocketReceiver(route, here)
    yield sender, receiver
    sender.close()
    receiver.close()


def items(rng: random.Random) -> list[Any]:
    numbers = np.random.default_rng(rng.randrange(1 << 32))
    kinds = ["<f4", "<f8", "<i8", "|b1", "<u2", "<f2"]
    made: list[Any] = []
    for _ in range(rng.randrange(5)):
        shape = [rng.choice([0, 1, 3, 40]) for _ in range(rng.randrange(4))]
        array = np.asarray((numbers.random(shape) * 100).astype(rng.choice(kinds)))
        made.append(
            rng.choice([array, np.asfortranarray(array), array[..., ::2] if shape else array])
        )
    if rng.random() < 0.3:
        made.append(np.array(["a", "\u00e9"], object))
    if rng.random() < 0.3:
        made.append([{1: 0.5}, np.arange(3)])
    return made


def test_whatever_is_sent_arrives_in_order_and_holds_until_it_is_given_back(
    channel: tuple[SocketSender, SocketReceiver],
) -> None:
    sender, receiver = channel
    rng = random.Random(0)
    sent = [items(rng) for _ in range(200)]
    feeder = threading.Thread(target=lambda: deque(map(sender.send, sent), maxlen=0))
    feeder.start()
    for values in sent:
        got = receiver.recv()
        time.sleep(0.0005 * rng.randrange(2))  # others come meanwhile
        np.testing.assert_equal(got, values)
        for a, b in zip(got, values, strict=True):
            assert not isinstance(b, np.ndarray) or (a.dtype, a.shape) == (b.dtype, b.shape)
        receiver.release()
    feeder.join()
    assert (sender.sent, receiver.released) == (200, 200)


def test_a_sender_waits_while_all_places_are_taken(
    channel: tuple[SocketSender, SocketReceiver],
) -> None:
    sender, receiver = channel
    for number in range(3):
        sender.send([np.full(10, number)])
    assert sender.waited == 0
    more = threading.Thread(target=sender.send, args=([np.full(10, 3)],))
    more.start()
    more.join(0.1)
    assert more.is_alive()
    assert receiver.recv()[0][0] == 0
    receiver.release()
    more.join(5)
    assert not more.is_alive()
    assert sender.waited > 0.05
    assert [int(receiver.recv()[0][0]) for _ in range(3)] == [1, 2, 3]
    assert (sender.sent, sender.released) == (4, 1)


def test_an_item_that_failed_arrives_as_why(channel: tuple[SocketSender, SocketReceiver]) -> None:
    sender, receiver = channel
    sender.fail("stage 1 failed: \u00e9")
    sender.send([np.arange(2)])
    with pytest.raises(ItemFailedError, match="stage 1 failed: \u00e9"):
        receiver.recv()
    receiver.release()
    assert receiver.recv()[0].tolist() == [0, 1]


def test_what_was_sent_before_the_end_arrives_and_then_both_sides_know(
    channel: tuple[SocketSender, SocketReceiver],
) -> None:
    sender, receiver = channel
    sender.send([np.arange(2)])
    sender.close()
    assert receiver.recv()[0].tolist() == [0, 1]
    for _ in range(2):
        with pytest.raises(ChannelClosedError):
            receiver.recv()


def send_for_ever(sender: SocketSender) -> None:
    while True:
        sender.send([np.zeros(100_000)])


@pytest.mark.parametrize("full", [True, False])
def test_a_sender_learns_that_the_other_side_has_gone(
    channel: tuple[SocketSender, SocketReceiver], full: bool
) -> None:
    sender, receiver = channel
    for number in range(3 if full else 0):
        sender.send([np.full(10, number)])
    threading.Timer(0.05, receiver.close).start()
    with pytest.raises(ChannelClosedError):
        send_for_ever(sender)
    assert sender.sent - sender.released <= 3


def test_only_who_knows_the_secret_comes_in_and_only_for_what_is_current(
    doorstep: Doorstep,
) -> None:
    with pytest.raises(UnreachableError, match=r"cannot connect to 127.+: turned away"):
        connect(doorstep.address, bytes(SECRET_BYTES), LINE)
    with pytest.raises(UnreachableError, match="waited in vain for a connection of stage 0"):
        doorstep.wait_for(LINE, time.monotonic() + 0.05)
    early = connect(doorstep.address, SECRET, LINE)
    late = threading.Timer(0.05, doorstep.forget_before, args=(2,))
    with early:
        late.start()
        while doorstep._oldest < 2:  # what nobody asked for is closed
            time.sleep(0.01)
        assert early.recv(1) == b""
    with pytest.raises(ChannelClosedError):
        doorstep.wait_for(LINE, time.monotonic() + 5)
    with connect(doorstep.address, SECRET, LINE) as stale:
        assert stale.recv(1) == b""


def test_one_who_says_nothing_keeps_nobody_waiting(doorstep: Doorstep) -> None:
    with (
        socket.create_connection(doorstep.address),
        connect(doorstep.address, SECRET, LINE),
        doorstep.wait_for(LINE, time.monotonic() + 2),
    ):
        pass


def test_times_asked_for_are_those_that_were_noted() -> None:
    there, here = Times(bytearray(RECORDS_BYTES)), Times(bytearray(RECORDS_BYTES))
    for count in (0, 3, 10, RECORDS + 100, 5):  # more at once than are kept, too
        for number in range(count):
            there.take()
            there.compute()
            there.add(*(10.0 * there.count + step + number for step in range(5)))
        there.take()
        rows, first = there.since(here.count)
        here.merge(rows, first, 0.5)
        assert here.counts == there.counts
        np.testing.assert_array_equal(here.last(), there.last() + 0.5)


def test_a_link_that_gets_no_answer_asks_on_and_one_that_is_dead_gives_up() -> None:
    control, stage = socket.socketpair()
    near, far = socket.socketpair()
    link, known = Link(1, None, control, near, 2.0), Times(bytearray(RECORDS_BYTES))
    theirs = Times(bytearray(RECORDS_BYTES))
    theirs.add(1.0, 2.0, 3.0, 4.0, 5.0)
    with control, near, far, stage:
        assert not link.ask(known, 0.01)
        assert far.recv(100) == COUNT.pack(0)
        rows, first = theirs.since(0)
        content = pickle.dumps(Answer(True, rows, first, {2: (7, 5)}))
        far.sendall(COUNT.pack(len(content)) + content)
        assert link.ask(known, 1.0)
        assert known.last().tolist() == [[3.0, 4.0, 5.0, 6.0, 7.0]]
        assert (link.places, link.places_are_final) == ({2: (7, 5)}, True)
        assert not link.gone
        stage.close()
        far.close()
        assert link.gone
        assert not link.ask(known, 1.0)
        assert not link.ask(known, 60.0)
        link.close()
