# SPDX-License-Identifier: Apache-2.0
"""The trace file, by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from stagewright.timeline import Span, Trace


def events(trace: Trace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(trace.text(), parse_float=Decimal)["traceEvents"]
    return found


def test_an_item_in_two_stages_at_once_has_an_arrow_per_hop() -> None:
    spans = [
        Span(0, 7, "work", 0, 10),
        Span(1, 7, "input", 0, 10),
        Span(1, 7, "work", 10, 30),
        Span(2, 7, "work", 12, 20),
        Span(3, 7, "work", 30, 31),
        Span(3, 7, "send", 31, 32),
        Span(0, 8, "work", 10, 20),
    ]
    hops = [(0, 1), (0, 2), (1, 3), (2, 3)]
    found = events(Trace("diamond", "abcd", spans, hops))
    arrows = [e for e in found if e["ph"] in "sf"]
    ends = [(e["id"], e["ph"], e["tid"] - 1, int(e["ts"] * 10**6)) for e in arrows]
    assert ends == [
        (0, "s", 0, 0),
        (0, "f", 1, 10),
        (1, "s", 0, 0),
        (1, "f", 2, 12),
        (2, "s", 1, 10),
        (2, "f", 3, 30),
        (3, "s", 2, 12),
        (3, "f", 3, 30),
    ]
    assert {e["args"]["item"] for e in arrows} == {7}  # item 8 took no hop
    assert [e["args"]["name"] for e in found if e["name"] == "thread_name"] == list("abcd")
    assert [e["name"] for e in found if e["ph"] == "X"][:2] == ["work", "wait for input"]


def test_times_keep_their_picoseconds() -> None:
    (event,) = (
        e
        for e in events(Trace("t", ["a"], [Span(0, 0, "work", 1, 10**16 + 1)], []))
        if e["ph"] == "X"
    )
    assert (event["ts"], event["dur"]) == (Decimal("0.000001"), Decimal(10**10))
