# SPDX-License-Identifier: Apache-2.0
"""How far a bound or a run is: asked again and again for a terminal, now and then for a line elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from .live import describe, line_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..bound.watch import BoundNow
    from ..runtime.watch import RunNow

__all__ = ["Watching", "bound_view", "run_view"]

_AT_ONCE = 0.25  # what is done within so many seconds needs no line
_RUN_PER_SECOND = 2.0  # the stages that are measured have better use for the cores than drawing
_SOLVING = "solving"  # what a solver does anyway
_QUIET = 2.0  # seconds before the first plain line and between the first two; then twice as many each time


def bound_view(
    method: str, now: Callable[[], BoundNow], time_limit: float, solver: str | None = None
) -> Watching:
    """Return a context manager that shows how far a bound is: `now` is asked for it."""
    name = f"{method} by {solver}" if solver else method

    def lines(elapsed: float) -> list[str]:
        left = f"{max(0.0, time_limit - elapsed):.0f} s left"
        return [f"{bound_words(name, now())}, {left}"]

    return Watching(lines)


def bound_words(name: str, now: BoundNow) -> str:
    """Return the bound that is at work, what it has shown, and how far the best plan is from it."""
    text = name if now.phase in (name, _SOLVING) else f"{name} ({now.phase})"
    if now.parts:
        text += f", {now.done} of {now.parts} programs"
    words = describe(now.upper or 0, now.lower)
    if now.upper is not None:
        return f"{text}: {words['bound']}, plan {words['plan']}, gap {words['gap']}"
    return f"{text}: {words['bound']}" if now.lower else text


def run_view(now: Callable[[], RunNow]) -> Watching:
    """Return a context manager that shows how far a run is: `now` is asked for it."""
    return Watching(lambda _: run_lines(now()), _RUN_PER_SECOND)


def run_lines(now: RunNow) -> list[str]:
    """Return what is done and left, the pace, and how busy the stages are: one line, or three."""
    from ..units import PS_PER_SECOND, format_time

    left = "" if now.left is None else f", about {now.left:.0f} s left"
    if not now.items:
        return [now.phase]
    lines = [f"{now.done} of {now.items} items, {now.phase}{left}"]
    pace = []
    if now.rate is not None:
        pace.append(f"{now.rate:.4g}/s")
    if now.predicted is not None:
        pace.append(f"predicted {now.predicted:.4g}/s")
    if now.lately.latency is not None:
        pace.append(f"latency {format_time(round(now.lately.latency * PS_PER_SECOND))}")
    if pace:
        lines.append(", ".join(pace))
    slowest = now.lately.slowest
    if slowest is not None:
        shares = (
            f"{i}: {'-' if share is None else f'{100 * share:.0f} %'}"
            for i, share in enumerate(now.lately.busy)
        )
        lines.append(f"slowest stage {slowest}; stages busy {', '.join(shares)}")
    return lines


class Watching:
    """Asks for lines while something else works: they are drawn again on a terminal, printed elsewhere.

    Parameters
    ----------
    lines
        Takes the seconds since the start and returns the lines; called in a thread of its own.
    per_second
        How often to draw on a terminal.
    """

    def __init__(self, lines: Callable[[float], list[str]], per_second: float = 4.0) -> None:
        self._lines, self._per_second = lines, per_second
        self._start = time.monotonic()
        self._over = threading.Event()
        self._terminal = sys.stderr.isatty()
        self._thread = threading.Thread(
            target=self._draw if self._terminal else self._print, daemon=True
        )

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _draw(self) -> None:
        # Nothing is loaded or drawn for what is done at once.
        if not self._over.wait(_AT_ONCE):
            with line_below(self._rendered, self._per_second):
                self._over.wait()

    def _print(self) -> None:
        between, last = _QUIET, [""]
        while not self._over.wait(between):
            elapsed = time.monotonic() - self._start
            lines = self._lines(elapsed)
            if lines != last:
                print(f"{elapsed:.1f} s: {'; '.join(lines)}", file=sys.stderr, flush=True)
            last, between = lines, 2 * between

    def _rendered(self) -> Any:
        from rich.text import Text

        elapsed = time.monotonic() - self._start
        text = Text(no_wrap=True, overflow="ellipsis")
        for number, line in enumerate(self._lines(elapsed)):
            text.append(f"\n{'':10}{line}" if number else f"{elapsed:6.1f} s  {line}")
        return text
