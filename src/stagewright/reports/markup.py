# SPDX-License-Identifier: Apache-2.0
"""HTML from small calls; text is escaped unless it is already Html."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["Html", "h", "join", "table"]


class Html(str):
    """Text that is markup; only :func:`h`, :func:`join` and trusted files make it."""

    __slots__ = ()


def h(name: str, *children: str, **attributes: str | int | bool | None) -> Html:
    """Return an element; every child that is not Html is escaped.

    ``class_`` is written as class and ``aria_label`` as aria-label; True gives a bare attribute, None
    and False none.
    """
    opening = "".join([f"<{name}", *(_attribute(k, v) for k, v in attributes.items()), ">"])
    if name in _VOID:
        return Html(opening)
    return Html("".join([opening, *map(_text, children), f"</{name}>"]))


_VOID = frozenset({"br", "col", "input", "meta"})
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|x|[munp]?s|[KMGT]i?B|B|[kMGT]?B/s)(?!\w))")
"""The space of a quantity, which stays on one line."""


def join(parts: Iterable[str]) -> Html:
    """Return the parts one after another, escaped unless Html."""
    return Html("".join(map(_text, parts)))


def _text(text: str) -> str:
    return text if isinstance(text, Html) else _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", escape(text))


def _attribute(name: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Iterable[int] = (),
    marked: Iterable[int] = (),
    notes: str = "",
) -> Html:
    """Return a table that scrolls by itself where the page is too narrow.

    Parameters
    ----------
    head
        Titles of the columns; empty over columns of pictures that the other columns put in numbers.
    numeric
        Columns of numbers, which are set to the right.
    marked
        Rows to stand out.
    notes
        A remark for the caption's second line.
    """
    right, bold = frozenset(numeric), frozenset(marked)
    classes = [("n" if i in right else None) for i in range(len(head))]
    header = join(
        h("th", t, scope="col", class_=c) if t else h("td")
        for t, c in zip(head, classes, strict=True)
    )
    body = join(
        h("tr", _row(cells, classes), class_="marked" if i in bold else None)
        for i, cells in enumerate(rows)
    )
    title = h("caption", caption, h("small", notes) if notes else Html(""))
    content = h("table", title, h("thead", h("tr", header)), h("tbody", body))
    return h("div", content, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _row(cells: Sequence[str], classes: Sequence[str | None]) -> Html:
    first = h("th", cells[0], scope="row", class_=classes[0])
    rest = (h("td", c, class_=k) for c, k in zip(cells[1:], classes[1:], strict=True))
    return join([first, *rest])
