# SPDX-License-Identifier: Apache-2.0
"""Quantities: exact, rounded up, and the texts people write."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagewright.errors import InputError
from stagewright.machine import Machine
from stagewright.units import (
    format_bytes,
    format_rate,
    format_time,
    parse_bandwidth,
    parse_bytes,
    parse_time,
    seconds_from_ps,
    to_ps,
)


@pytest.mark.parametrize(
    ("value", "unit", "ps"),
    [
        (0.1, "ms", 100_000_000),
        (12.5, "ms", 12_500_000_000),
        (Decimal("0.0000001"), "us", 1),
        (1, "ps", 1),
        (1.5, "ps", 2),
        (Decimal("1e-30"), "s", 1),
        (0, "s", 0),
    ],
)
def test_times_are_exact_and_rounded_up(value: float, unit: str, ps: int) -> None:
    assert to_ps(value, unit) == ps


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 10**30, Decimal("1e40")])
def test_impossible_times(value: float) -> None:
    with pytest.raises(InputError, match=r"^work: expected"):
        to_ps(value, "s", item="work")


@given(st.integers(0, 2**62))
def test_seconds_are_exact(ps: int) -> None:
    assert to_ps(seconds_from_ps(ps), "s") == ps


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("16GiB", 2**34), ("8MB", 8 * 10**6), ("1.5 KiB", 1536), ("7", 7), (12, 12), ("0", 0)],
)
def test_sizes(text: str | int, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25GB/s", 25 * 10**9),
        ("100Gbit/s", 12_500_000_000),
        ("10Gbps", 1_250_000_000),
        ("1GiB/s", 2**30),
        ("1e9", 10**9),
        (2.5e10, 25 * 10**9),
    ],
)
def test_bandwidths(text: str | float, rate: int) -> None:
    assert parse_bandwidth(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0GB/s", "-1GB/s", "25GB", "25 G", "nan", "inf"])
def test_bad_bandwidths(text: str) -> None:
    with pytest.raises(InputError, match="bandwidth: expected a bandwidth above 0"):
        parse_bandwidth(text)


@pytest.mark.parametrize(
    ("text", "ps"), [("5us", 5 * 10**6), ("10 ms", 10**10), ("2", 2 * 10**12), ("1µs", 10**6)]
)
def test_times_with_units(text: str, ps: int) -> None:
    assert parse_time(text) == ps


@pytest.mark.parametrize("text", ["", "5 lightyears", "-3us", "1e999"])
def test_bad_times(text: str) -> None:
    with pytest.raises(InputError, match="time: expected"):
        parse_time(text)


def test_texts_for_people() -> None:
    assert format_time(0) == "0 s"
    assert format_time(1_234_000_000) == "1.234 ms"
    assert format_time(5_000_000_000_000_000) == "5000 s"
    assert format_bytes(1536) == "1.5 KiB"
    assert format_bytes(3 * 2**40) == "3 TiB"
    assert format_rate(25 * 10**9) == "25 GB/s"


@given(st.integers(0, 2**40), st.integers(1, 2**40))
def test_transfer_time_is_rounded_up(nbytes: int, bandwidth: int) -> None:
    exact = Fraction(nbytes * 10**12, bandwidth)
    assert 0 <= Machine(2, bandwidth).transfer_time(nbytes) - exact < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": 0}, "stages: expected a whole number from 1 to 1048576, got 0"),
        ({"stages": 2.5}, "stages: expected a whole number"),
        ({"stages": True}, "stages: expected a whole number"),
        (
            {"stages": 2, "bandwidth": 0},
            "bandwidth: expected whole bytes per second above 0, got 0",
        ),
        ({"stages": 2, "latency": -1}, "latency: expected whole picoseconds >= 0, got -1"),
        ({"stages": 2, "memory": 5}, "memory: expected a bandwidth beside it"),
        (
            {"stages": 2, "bandwidth": 1, "memory": 5, "reserved": (0, 6)},
            "reserve of stage 1: expected at most the memory, 5 bytes, got 6",
        ),
        ({"stages": 2, "reserved": (-1,)}, "reserve of stage 0: expected whole bytes >= 0, got -1"),
        ({"stages": 2, "bandwidth": 1, "memory": -5}, "memory: expected whole bytes >= 0, got -5"),
    ],
)
def test_bad_machines(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Machine(**arguments)
    assert message in str(caught.value)


def test_machine_round_trip() -> None:
    machine = Machine(8, 25 * 10**9, 5_000_000, 2**34)
    assert Machine.from_json(machine.to_json()) == machine
    with pytest.raises(InputError, match=r"machine\.bandwidth: expected whole bytes per second"):
        Machine.from_json({"stages": 2, "bandwidth": 0.5})
