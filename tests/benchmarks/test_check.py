# SPDX-License-Identifier: Apache-2.0
"""The check against what was accepted fails where it should, and only there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks.check import ACCEPTED, GRID, accepted_rows, faults

from stagewright.benching.grid import Grid


def run(upper: int | None, lower: int, seconds: float = 0.1, graph: str = "g") -> dict[str, Any]:
    return {"graph_sha256": graph, "upper": upper, "lower": lower, "seconds": seconds,
            "time_limit": 4.0, "error": None}  # fmt: skip


BEFORE = accepted_rows({"s: a": run(100, 100), "s: b": run(100, 90, 4.0), "s: c": run(100, 100, 3)})


def test_what_is_as_good_or_better_passes() -> None:
    same = {"s: a": run(100, 100, 9.0), "s: b": run(100, 90), "s: c": run(101, 99)}
    assert faults(BEFORE, same) == []
    assert faults(BEFORE, {**same, "s: b": run(95, 95)}) == []


@pytest.mark.parametrize(
    ("name", "now", "fault"),
    [
        ("s: a", run(100, 99), "s: a: no longer proven: 99 to 100, was 100"),
        ("s: a", run(99, 99), "s: a: optimum 99, was 100: one of the proofs is wrong"),
        ("s: a", run(None, 0), "s: a: no plan (None)"),
        ("s: a", run(100, 100, graph="h"), "s: a: another graph or other costs than were accepted"),
        ("s: b", run(104, 104), "s: b: plan 104, was 100"),
        ("s: b", run(100, 86), "s: b: lower/upper 0.8600, was 0.9000"),
        ("s: d", run(1, 1), "s: d: not accepted yet"),
    ],
)
def test_what_is_worse_is_told(name: str, now: dict[str, Any], fault: str) -> None:
    found = {"s: a": run(100, 100), "s: b": run(100, 90), "s: c": run(100, 100), name: now}
    assert fault in faults(BEFORE, found)


def test_a_mean_that_falls_is_told_where_no_run_falls_far() -> None:
    names = [f"s: {i}" for i in range(9)]
    before = accepted_rows({name: run(1000, 900, 4.0) for name in names})
    (fault,) = faults(before, {name: run(1000, 880) for name in names})
    assert fault == "s: mean of lower/upper 0.8800, accepted 0.9000"


def test_accepted_runs_are_those_of_the_grid() -> None:
    grid = Grid.load(GRID)
    names = {
        f"{job.instance.set}: {job.instance.name} {job.instance.machine} k={job.stages}"
        for job in grid.jobs()
    }
    assert set(json.loads(ACCEPTED.read_text())) == names
