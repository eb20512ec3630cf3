# SPDX-License-Identifier: Apache-2.0
"""Repeating until a median is known, and noting what goes on around."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable, Iterator

import pytest

from stagewright.cost.steady import Patience, measure_steady, median_interval
from stagewright.cost.surroundings import OtherLoad, cache_sizes, pinned, pinning
from stagewright.errors import InputError


def giving(values: Iterator[int]) -> Callable[[], int]:
    return lambda: next(values)


def test_equal_values_end_at_the_least_number() -> None:
    found = measure_steady(lambda: 50, Patience(least=9, warmup=3))
    assert (found.median, found.low, found.high, found.runs, found.warmup) == (50, 50, 50, 9, 3)
    assert found.spread == 0


def test_scattered_values_are_repeated_until_the_median_is_known() -> None:
    rng = random.Random(1)
    values = iter(lambda: round(1e6 * (1 + rng.expovariate(5))), None)
    patience = Patience(precision=0.02, seconds=1e9, most=100_000)
    found = measure_steady(giving(values), patience)
    assert patience.least < found.runs < patience.most
    assert found.high - found.low <= 2 * 0.02 * found.median


def test_warm_up_runs_do_not_count() -> None:
    values = iter([10**9, 10**9, *[7] * 100])
    assert measure_steady(giving(values), Patience(warmup=2)).high == 7


def test_time_ends_what_never_settles() -> None:
    clock = iter(range(1000))
    values = iter(10**k for k in range(1000))
    found = measure_steady(
        giving(values), Patience(seconds=20, most=1000), clock=lambda: next(clock)
    )
    assert found.runs == 7 + 20  # the clock is read from the seventh run on
    assert found.spread > 0.02


def test_the_interval_covers_the_median() -> None:
    """Of 400 samples from a skewed distribution at least 93 in 100 intervals hold its median."""
    rng = random.Random(2)
    truth = 1e6  # the median of a log-normal distribution around its logarithm
    hits = 0
    for _ in range(400):
        values = [round(truth * rng.lognormvariate(0, 0.5)) for _ in range(25)]
        low, high = median_interval(values)
        assert low <= statistics.median(values) <= high
        hits += low <= truth <= high
    assert hits >= 0.93 * 400


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"precision": 0.0}, "precision: expected a fraction between 0 and 1, got 0.0"),
        ({"seconds": -1.0}, "seconds: expected a number above 0, got -1.0"),
        ({"least": 5, "most": 4}, "runs: expected 1 <= least <= most, got 5, 4"),
    ],
)
def test_impatience_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Patience(**wrong)  # type: ignore[arg-type]  # one field each
    assert str(caught.value) == message


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no processes")
def test_pinning_lasts_as_long_as_asked() -> None:
    before = os.sched_getaffinity(0)
    first = min(before)
    with pinned(str(first)):
        assert os.sched_getaffinity(0) == {first}
        assert pinning() == ("free" if os.cpu_count() == 1 else str(first))
    assert os.sched_getaffinity(0) == before
    with pinned(None):
        assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("cores", ["", "a", "1-", "0;1"])
def test_a_text_that_names_no_cores_is_refused(cores: str) -> None:
    with (
        pytest.raises(InputError, match="pin: expected cores such as '0,2' or '0-3', got"),
        pinned(cores),
    ):
        pass


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no processes")
def test_cores_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="pin: expected cores out of"), pinned("0-99999"):
        pass


def test_other_load_is_a_number_of_cores() -> None:
    load = OtherLoad()
    assert 0 <= load.cores() <= (os.cpu_count() or 1)
    load.begun -= 10  # as if ten seconds had passed
    load.busy -= 5  # in which the system was busy for five
    if load.busy > -5:  # the system tells at all
        assert 0.3 <= load.cores() <= 2 * (os.cpu_count() or 1)


def test_caches_ascend() -> None:
    sizes = cache_sizes()
    assert sizes == sorted(sizes)
    assert sizes[0] > 0
