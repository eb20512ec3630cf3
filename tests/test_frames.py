# SPDX-License-Identifier: Apache-2.0
"""Data frames of results and sweeps, in both libraries."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.cli.test_cli import chain

import stagewright as sw
from stagewright.errors import InputError, MissingDependencyError
from stagewright.frames import LIBRARIES
from stagewright.graph import GraphBuilder
from stagewright.placement.devices import Fleet, Kind, Link


def forked() -> sw.CostGraph:
    """Return a graph whose first tensor goes to two other stages."""
    builder = GraphBuilder("forked")
    for v in range(3):
        builder.add_node(f"v{v}", op="Op", work=10**9, group="whole" if v == 2 else None)
    builder.add_tensor(0, [1, 2], nbytes=500)
    builder.add_tensor(1, [2], time=7000)
    return builder.build()


def rows(frame: Any) -> list[dict[str, Any]]:
    found = frame.to_dicts() if hasattr(frame, "to_dicts") else frame.to_dict("records")
    return [{key: None if value != value else value for key, value in row.items()} for row in found]


@pytest.mark.parametrize("library", LIBRARIES)
def test_frames_of_a_result(library: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    result = sw.plan(forked(), 3, bandwidth="1GB/s")
    assert len(result.plan.stages) == 3
    stages = rows(result.stages_frame(library))
    assert [(s["stage"], s["first"], s["nodes"]) for s in stages] == [
        (0, "v0", 1),
        (1, "v1", 1),
        (2, "v2", 1),
    ]
    assert max(s["total"] for s in stages) == result.bottleneck
    for s in stages:
        assert s["work"] + s["io_in"] + s["io_out"] + s["overflow"] == pytest.approx(s["total"])
    nodes = rows(result.nodes_frame(library))
    assert [(n["node"], n["stage"], n["position"]) for n in nodes] == [
        ("v0", 0, 0),
        ("v1", 1, 0),
        ("v2", 2, 0),
    ]
    assert [n["group"] for n in nodes] == [None, None, "whole"]
    assert sum(n["work"] for n in nodes) == pytest.approx(sum(s["work"] for s in stages))
    cuts = rows(result.cuts_frame(library))
    assert [(c["producer"], c["from_stage"], c["to_stage"], c["bytes"]) for c in cuts] == [
        ("v0", 0, 1, 500),
        ("v0", 0, 2, 500),
        ("v1", 1, 2, None),
    ]
    for s in stages:
        received = sum(c["time"] for c in cuts if c["to_stage"] == s["stage"])
        assert received == pytest.approx(s["io_in"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_frame_of_a_sweep(library: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    found = sw.sweep(chain(6), "1..4", bandwidth="1GB/s")
    points = rows(found.frame(library))
    assert [p["stages"] for p in points] == [1, 2, 3, 4]
    assert [p["period"] for p in points] == [(p.period or 0) / 1e12 for p in found]
    assert all(p["gap"] == 0 and p["status"] == "optimal" for p in points)


def test_one_stage_has_no_cuts() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    assert len(sw.plan(chain(3), 1, bandwidth="1GB/s").cuts_frame()) == 0


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    result = sw.plan(chain(3), 2, bandwidth="1GB/s")
    with pytest.raises(InputError, match="library: expected pandas or polars, got 'arrow'"):
        result.stages_frame("arrow")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'stagewright\[frames\]'"):
        result.nodes_frame("polars")


@pytest.mark.parametrize("library", LIBRARIES)
def test_frames_of_a_placed_result(library: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    for shared in (False, True):
        fleet = Fleet((Kind("a", 1, Link(10**9)), Kind("b", 1, Link(10**9))), shared=shared)
        result = sw.place(forked(), fleet, time_limit=5)
        stages = rows(result.stages_frame(library))
        said = result.to_json()["stages"]
        assert [s["device"] for s in stages] == [s["device"] for s in said]
        assert [s.get("number") for s in stages] == [s.get("number") for s in said]
        assert len(stages) == len(result.plan.stages)
        assert result.gap == 0.0
        assert max(bound.value for bound in result.bounds) == result.solution.bottleneck
        assert sw.check(forked(), result).valid
        assert not sw.check(forked().replace(work=[1, 2, 3]), result).valid
