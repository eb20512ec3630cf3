# SPDX-License-Identifier: Apache-2.0
"""A timeline as Chrome trace JSON, which Perfetto and chrome://tracing open.

Stages are threads of one process, what they do are complete events, and each item is a flow from
stage to stage.  Times are microseconds; picoseconds are their sixth decimal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from .pipeline import Span
from .report import Simulation

__all__ = ["trace_text"]


def trace_text(simulation: Simulation, name: str) -> str:
    """Return the trace file; one event a line."""
    lines = ",\n".join(_events(simulation, name))
    return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{lines}\n]}}\n'


def _events(simulation: Simulation, name: str) -> Iterator[str]:
    yield _line(ph="M", name="process_name", pid=1, args={"name": name})
    for stage in range(len(simulation.stages)):
        yield _line(
            ph="M", name="thread_name", pid=1, tid=stage + 1, args={"name": f"stage {stage}"}
        )
        yield _line(
            ph="M", name="thread_sort_index", pid=1, tid=stage + 1, args={"sort_index": stage}
        )
    first: dict[tuple[int, int], Span] = {}
    for span in simulation.timeline.spans:
        waits = span.what in ("input", "link", "queue")
        what = f"wait for {span.what}" if waits else span.what
        yield _line(
            ph="X",
            name=what,
            cat="wait" if waits else "busy",
            pid=1,
            tid=span.stage + 1,
            ts=_us(span.start),
            dur=_us(span.end - span.start),
            args={"item": span.item},
        )
        if not waits:
            first.setdefault((span.item, span.stage), span)
    yield from _flows(first)


def _flows(first: dict[tuple[int, int], Span]) -> Iterator[str]:
    """Yield an arrow from the first thing that a stage does with an item to that of the next stage."""
    stages: dict[int, list[Span]] = {}
    for (item, _), span in sorted(first.items()):
        stages.setdefault(item, []).append(span)
    for item, spans in stages.items():
        if len(spans) < 2:
            continue
        for i, span in enumerate(spans):
            kind = "s" if i == 0 else "f" if i == len(spans) - 1 else "t"
            ends = {"bp": "e"} if kind == "f" else {}
            yield _line(
                ph=kind, name="item", cat="item", id=item, pid=1, tid=span.stage + 1, ts=_us(span.start), **ends
            )  # fmt: skip


def _us(ps: int) -> str:
    return format(Decimal(ps).scaleb(-6), "f")


def _line(*, ts: str | None = None, dur: str | None = None, **event: Any) -> str:
    """Return the JSON text of an event; its times are numbers with all their digits."""
    times = "".join(f', "{k}": {v}' for k, v in (("ts", ts), ("dur", dur)) if v is not None)
    return f"{json.dumps(event)[:-1]}{times}}}"
