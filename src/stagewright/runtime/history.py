# SPDX-License-Identifier: Apache-2.0
"""When each stage did what with each item of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ..timeline import Span, Trace
from .wiring import OUTSIDE, Route

__all__ = ["RunHistory"]

_PS: Final = 10**12
_PARTS: Final = ("input", "work", "queue", "send")


@dataclass(frozen=True, eq=False)
class RunHistory:
    """The items that every stage still remembers.

    Attributes
    ----------
    name
        The folder that was run.
    files
        The stage files.
    first
        Number of the item of the first row.
    rows
        Per stage and item the seconds of one clock at which it was ready, had received, computed, found
        room and sent; float64[items, 5] each.
    hops
        Pairs of stages of which the first hands tensors to the second, once for each such pair.
    """

    name: str
    files: tuple[str, ...]
    first: int
    rows: tuple[npt.NDArray[np.float64], ...]
    hops: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls,
        name: str,
        files: Sequence[str],
        routes: Sequence[Route],
        kept: Sequence[tuple[int, npt.NDArray[np.float64]]],
        skipped: int = 0,
    ) -> RunHistory:
        """Return the items that all stages remember, without the first `skipped` of the run.

        `kept` has, for each stage, the number of its first row and its rows.
        """
        begin = max([skipped, *(first for first, _ in kept)])
        end = min((first + len(rows) for first, rows in kept), default=begin)
        return cls(
            name,
            tuple(files),
            begin - skipped,
            tuple(rows[max(0, begin - first) : max(0, end - first)] for first, rows in kept),
            tuple((r.source, r.target) for r in routes if OUTSIDE not in (r.source, r.target)),
        )

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.rows[0]) if self.rows else 0

    def trace(self) -> Trace:
        """Return the timeline; it begins with the first work."""
        names = [f"stage {number}: {file}" for number, file in enumerate(self.files)]
        return Trace(self.name, names, self._spans(), self.hops)

    def _spans(self) -> Iterator[Span]:
        if not self.items:
            return
        origin = min(float(rows[0, 1]) for rows in self.rows)
        for stage, rows in enumerate(self.rows):
            # Whoever waited for the first item did so before there was anything to see.
            clipped = np.rint((np.maximum(rows, origin) - origin) * _PS).astype(np.int64)
            for item, times in enumerate(clipped.tolist(), self.first):
                for what, (start, end) in zip(_PARTS, pairwise(times), strict=True):
                    if end > start:
                        yield Span(stage, item, what, start, end)

    def save_trace(self, path: str | Path) -> None:
        """Write a trace that Perfetto and chrome://tracing open.

        Raises
        ------
        InputError
            If the file cannot be written; then there is none.
        """
        self.trace().save(path)
