# SPDX-License-Identifier: Apache-2.0
"""How far a bound is while it is computed: written by who computes it, read by whoever watches, in any thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from .. import _native

__all__ = ["BoundNow", "BoundWatch"]


@dataclass(frozen=True)
class BoundNow:
    """One look at a bound.

    Attributes
    ----------
    phase
        What is being done.
    lower
        No plan has a bottleneck below this many picoseconds, as far as is known; 0 for nothing yet.
    upper
        The bottleneck of the best plan that was found on the way; None where the method looks for none.
    done, parts
        Programs solved and programs to solve; 0 and 0 where it is not one of several.
    """

    phase: str
    lower: int
    upper: int | None
    done: int = 0
    parts: int = 0


class BoundWatch:
    """What one computation of a bound writes down as it goes; it costs it nothing that could be measured."""

    def __init__(self) -> None:
        self._now = BoundNow("reading and reducing", 0, None)
        self._gauge: _native.Gauge | None = None

    def note(
        self, phase: str, lower: int = 0, upper: int | None = None, *, done: int = 0, parts: int = 0
    ) -> None:
        """Note what is done from now on and what is known."""
        self._now = BoundNow(phase, lower, upper, done, parts)

    @contextmanager
    def measured(
        self, phase: str, lower: int = 0, upper: int | None = None
    ) -> Iterator[_native.Gauge]:
        """Note what is done in a native call that is given the gauge, by which it raises the bound."""
        self.note(phase, lower, upper)
        self._gauge = gauge = _native.Gauge()
        try:
            yield gauge
        finally:
            self._now, self._gauge = self.now(), None

    def now(self) -> BoundNow:
        """Return what is known at this moment."""
        now, gauge = self._now, self._gauge
        if gauge is None or gauge.reached <= now.lower:
            return now
        return replace(now, lower=gauge.reached)
