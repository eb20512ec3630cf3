# SPDX-License-Identifier: Apache-2.0
"""What stages did and when, simulated or measured, and its file: Chrome trace JSON.

Perfetto and chrome://tracing open it.  Stages are threads of one process, what they do are complete
events, and each item is a flow along every hop that it takes, so it may be in several stages at once.
Times are microseconds; picoseconds are their sixth decimal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from .files import write_whole

__all__ = ["WAITS", "Span", "Trace"]

WAITS: Final = ("input", "link", "queue")


@dataclass(frozen=True)
class Span:
    """Something that a stage did with an item, from `start` to `end` in picoseconds.

    `what` is ``receive``, ``work`` or ``send``, or what was waited for: one of :data:`WAITS`.
    """

    stage: int
    item: int
    what: str
    start: int
    end: int


@dataclass(frozen=True)
class Trace:
    """A timeline to look at.

    Attributes
    ----------
    name
        Of the plan or the folder.
    stages
        A name per stage, in order.
    spans
        What they did; those of one stage do not overlap.
    hops
        Pairs of stages of which the first hands tensors to the second.
    """

    name: str
    stages: Sequence[str]
    spans: Iterable[Span]
    hops: Sequence[tuple[int, int]]

    def text(self) -> str:
        """Return the trace file; one event a line."""
        lines = ",\n".join(self._events())
        return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{lines}\n]}}\n'

    def save(self, path: str | Path) -> None:
        """Write the trace file.

        Raises
        ------
        InputError
            If it cannot be written; then there is none.
        """
        write_whole(path, self.text())

    def _events(self) -> Iterator[str]:
        yield _line(ph="M", name="process_name", pid=1, args={"name": self.name})
        for stage, name in enumerate(self.stages):
            for what, args in (
                ("thread_name", {"name": name}),
                ("thread_sort_index", {"sort_index": stage}),
            ):
                yield _line(ph="M", name=what, pid=1, tid=stage + 1, args=args)
        first: dict[tuple[int, int], Span] = {}
        for span in self.spans:
            waits = span.what in WAITS
            yield _line(
                ph="X",
                name=f"wait for {span.what}" if waits else span.what,
                cat="wait" if waits else "busy",
                pid=1,
                tid=span.stage + 1,
                ts=_us(span.start),
                dur=_us(span.end - span.start),
                args={"item": span.item},
            )
            if not waits:
                first.setdefault((span.item, span.stage), span)
        yield from self._flows(first)

    def _flows(self, first: dict[tuple[int, int], Span]) -> Iterator[str]:
        """Yield an arrow per item and hop, between the first things that both stages do with it.

        Viewers tie an end of an arrow to what its track does then, and want its ends in order of time.
        """
        for number, item in enumerate(sorted({item for item, _ in first})):
            for index, (source, target) in enumerate(self.hops):
                ends = first.get((item, source)), first.get((item, target))
                if None in ends:
                    continue
                for kind, span in zip("sf", ends, strict=True):
                    assert span is not None  # noqa: S101  # checked above; for the type checker
                    yield _line(
                        ph=kind,
                        name="item",
                        cat="item",
                        id=number * len(self.hops) + index,
                        pid=1,
                        tid=span.stage + 1,
                        ts=_us(span.start),
                        args={"item": item},
                        # Without it viewers tie the end to the next thing that the track does.
                        **({"bp": "e"} if kind == "f" else {}),
                    )


def _us(ps: int) -> str:
    return format(Decimal(ps).scaleb(-6), "f")


def _line(*, ts: str | None = None, dur: str | None = None, **event: Any) -> str:
    """Return the JSON text of an event; its times are numbers with all their digits."""
    times = "".join(f', "{k}": {v}' for k, v in (("ts", ts), ("dur", dur)) if v is not None)
    return f"{json.dumps(event)[:-1]}{times}}}"
