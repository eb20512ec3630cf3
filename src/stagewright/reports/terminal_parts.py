# SPDX-License-Identifier: Apache-2.0
"""Pieces of tables that fit themselves to the room there is; imported only where rich is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

__all__ = ["Bar", "Fitted", "Legend", "MiddleCut", "column_widths"]

_STYLES: Final = {
    "receive": "yellow",
    "work": "blue",
    "send": "cyan",
    "overflow": "red",
    "sync": "magenta",
}
_SIGNS: Final = {"receive": "<", "send": ">", "overflow": "!", "sync": "~"}
_WIDEST_BAR: Final = 48
_NARROWEST_BAR: Final = 10
_NARROWEST_NAMES: Final = 16
_JOINT: Final = " .. "
_GAP: Final = 2
_EXPENDABLE: Final = ("share", "peak", "params", "nodes", "device")


def _work_sign(options: ConsoleOptions) -> str:
    return "#" if options.ascii_only else "█"


class Fitted:
    """Something that is built once the width is known."""

    def __init__(self, build: Callable[[int], RenderableType]) -> None:
        self.build = build

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Build and hand on."""
        yield self.build(options.max_width)


def column_widths(
    columns: Mapping[str, Sequence[str]], names: int, width: int
) -> tuple[list[str], int, int]:
    """Choose columns for a width: those to show, the width of the bar, the width of the names.

    Parameters
    ----------
    columns
        Cells by title; none of them may be cut.
    names
        Width that the longest names want; 0 comes back where there is no room for names.
    width
        Cells in all.
    """
    shown = list(columns)
    least = _NARROWEST_BAR + min(names, _NARROWEST_NAMES)
    room = _room(columns, shown, width)
    for title in _EXPENDABLE:
        if room >= least:
            break
        if title in shown:
            shown.remove(title)
            room = _room(columns, shown, width)
    if room < least:
        return shown, max(1, min(room + _GAP, _WIDEST_BAR)), 0
    bar = max(_NARROWEST_BAR, min(_WIDEST_BAR, room // 2, room - min(names, room // 2)))
    return shown, bar, min(names, room - bar)


def _room(columns: Mapping[str, Sequence[str]], shown: Sequence[str], width: int) -> int:
    """Return the cells that are left for the bar and the names."""
    fixed = sum(max(map(cell_len, (title, *columns[title]))) for title in shown)
    return width - fixed - _GAP * (len(shown) + 1)


class Bar:
    """A stage's time as a bar whose parts differ in sign and in colour."""

    def __init__(self, parts: Sequence[tuple[str, int]], longest: int) -> None:
        self.parts, self.longest = parts, longest

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw with one sign per cell; a part that is not 0 but thinner than half a cell vanishes."""
        width = min(options.max_width, _WIDEST_BAR)
        text = Text(no_wrap=True, end="")
        total = drawn = 0
        for name, time in self.parts:
            total += time
            end = round(width * total / self.longest) if self.longest > 0 else 0
            sign = _SIGNS.get(name) or _work_sign(options)
            text.append(sign * (end - drawn), style=_STYLES[name])
            drawn = end
        yield text


class MiddleCut:
    """One or two names on one line; what does not fit is left out in their middles."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = [n if len(n) <= 512 else f"{n[:256]}{n[-256:]}" for n in names]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Shorten every name to its share of the width, keeping its ends."""
        names = [_ascii(n) for n in self.names] if options.ascii_only else self.names
        dots = "~" if options.ascii_only else "…"
        room = options.max_width - cell_len(_JOINT) * (len(names) - 1)
        widths = _shares([cell_len(n) for n in names], room)
        shown = [_shorten(n, w, dots) for n, w in zip(names, widths, strict=True)]
        yield Text(_JOINT.join(shown), no_wrap=True, end="")

    @property
    def width(self) -> int:
        """Cells that the names take in full."""
        return sum(map(cell_len, self.names)) + cell_len(_JOINT) * (len(self.names) - 1)


class Legend:
    """What the signs of a bar mean."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Write the sign that the bars have on this console."""
        yield Text(self.text.format(work=_work_sign(options)), style="dim")


def _ascii(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode("ascii")


def _shares(lengths: Sequence[int], room: int) -> list[int]:
    """Give every name what it needs, or an equal share of what the shorter ones leave."""
    widths = list(lengths)
    if len(widths) == 2 and sum(widths) > room:
        half = room // 2
        first = min(widths[0], max(half, room - widths[1]))
        return [first, room - first]
    return [min(width, room) for width in widths]


def _shorten(name: str, width: int, dots: str) -> str:
    """Cut the middle out of a name until it takes at most `width` cells."""
    if cell_len(name) <= width:
        return name
    keep = max(width - 1, 0)
    while keep and cell_len(_ends(name, keep, "")) >= width:
        keep -= 1
    return _ends(name, keep, dots) if width > 0 else ""


def _ends(name: str, keep: int, dots: str) -> str:
    """Return the first and the last of `keep` characters, joined by dots."""
    head = keep // 2
    return f"{name[:head]}{dots}{name[len(name) - (keep - head) :]}"
