# SPDX-License-Identifier: Apache-2.0
"""What the search is doing, while it does it: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.live import Live

    from ..solve import Progress
    from ..sweeping import PointProgress

__all__ = [
    "LiveTable",
    "PlainLines",
    "SweepLines",
    "describe",
    "line_below",
    "live_view",
    "sweep_view",
]

_QUIET = 2.0  # seconds between two plain lines, and before the first


def live_view(time_limit: float, title: str = "") -> LiveTable | PlainLines:
    """Return what to call with every point of progress: a context manager.

    `title` says what is being planned where there is more than one.
    """
    return LiveTable(time_limit, title) if sys.stderr.isatty() else PlainLines(title)


def describe(upper: int, lower: int) -> dict[str, str]:
    """Return the words for a plan and a bound in picoseconds, and for the gap between them."""
    from ..units import format_time

    return {
        "plan": format_time(upper),
        "bound": format_time(lower) if lower else "none",
        "gap": f"{100 * (upper / lower - 1):.2f} %" if lower else "unknown",
    }


class PlainLines:
    """A line on stderr whenever a bound changed, but not more often than every two seconds."""

    def __init__(self, title: str = "") -> None:
        self._title = f"{title}: " if title else ""
        self._last: tuple[int, int] | None = None
        self._told = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, point: Progress) -> None:
        """Print a line if it is time for one."""
        if (point.upper, point.lower) == self._last or point.seconds < self._told + _QUIET:
            return
        self._last, self._told = (point.upper, point.lower), point.seconds
        words = describe(point.upper, point.lower)
        text = f"{self._title}{point.seconds:.1f} s: plan {words['plan']}, bound {words['bound']}"
        print(f"{text}, gap {words['gap']} ({point.phase})", file=sys.stderr, flush=True)


def line_below(line: Callable[[], Any], per_second: float = 4.0) -> Live:
    """Return what draws `line` again and again below what was printed, and takes it away at the end."""
    from rich.console import Console
    from rich.live import Live

    return Live(
        get_renderable=line,
        console=Console(file=sys.stderr),
        refresh_per_second=per_second,
        transient=True,
    )


class LiveTable:
    """A line on the terminal, below its title if it has one, that is drawn again four times a second."""

    def __init__(self, time_limit: float, title: str = "") -> None:
        self._title = f"{title}\n" if title else ""
        self._start, self._limit = time.monotonic(), time_limit
        self._point: Progress | None = None
        self._live = line_below(self._line)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, point: Progress) -> None:
        """Show this point from now on."""
        self._point = point

    def _line(self) -> Any:
        from rich.text import Text

        elapsed = time.monotonic() - self._start
        left = max(0.0, self._limit - elapsed)
        if self._point is None:
            return Text(f"{self._title}{elapsed:6.1f} s  reading and reducing, {left:.0f} s left")
        words = describe(self._point.upper, self._point.lower)
        line = Text(f"{self._title}{elapsed:6.1f} s  ", no_wrap=True, overflow="ellipsis")
        line.append(f"plan {words['plan']}", style="bold")
        line.append(f"  bound {words['bound']}  gap ")
        line.append(words["gap"], style="green" if words["gap"] == "0.00 %" else "yellow")
        line.append(f"  after {self._point.phase}, {left:.0f} s left", style="dim")
        return line


def sweep_view(time_limit: float, points: int) -> SweepLines:
    """Return what to call with every point of a sweep's progress: a context manager."""
    return SweepLines(time_limit, points, live=sys.stderr.isatty())


class SweepLines:
    """How many points of a sweep are proven: one line drawn again and again, or a line now and then."""

    def __init__(self, time_limit: float, points: int, *, live: bool) -> None:
        self._limit, self._points = time_limit, points
        self._start = time.monotonic()
        self._told = self._start
        self._open: dict[int, PointProgress] = {}
        self._seen: set[int] = set()
        self._live: Any = None
        if live:
            self._live = line_below(self._line)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, point: PointProgress) -> None:
        """Take note of a point; print a line if it is time for one."""
        self._seen.add(point.place)
        if point.now.lower < point.now.upper:
            self._open[point.place] = point
        else:
            self._open.pop(point.place, None)
        now = time.monotonic()
        if self._live is None and now >= self._told + _QUIET:
            self._told = now
            print(self._text(now), file=sys.stderr, flush=True)

    def _line(self) -> str:
        now = time.monotonic()
        left = max(0.0, self._limit - (now - self._start))
        return f"{self._text(now)}, {left:.0f} s left"

    def _text(self, now: float) -> str:
        elapsed = f"{now - self._start:.1f} s"
        if not self._seen:
            return f"{elapsed}: reading and reducing"
        proven = len(self._seen) - len(self._open)
        text = f"{elapsed}: {proven} of {self._points} points proven"
        gaps = [(p.now.upper / p.now.lower - 1, p) for p in self._open.values() if p.now.lower]
        if gaps:
            gap, worst = max(gaps, key=lambda pair: pair[0])
            text += f", widest gap {100 * gap:.2f} % ({worst.machine.stages} devices)"
        return text
