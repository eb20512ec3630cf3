# SPDX-License-Identifier: Apache-2.0
"""Names of dimensions: those that mean a size, and those that tools write for "unknown"."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["symbol", "ties"]

_PLACEHOLDERS: Final = frozenset({"", "?", "*", "-1", "None", "none", "null", "unknown", "unk"})
_NUMBERED: Final = re.compile(r"unk__\d+")


def symbol(name: str) -> str:
    """Return the name of a dimension, ``""`` where a tool wrote "unknown" into its place.

    Two dimensions called ``?`` have nothing to do with each other.

    Examples
    --------
    >>> symbol("batch"), symbol("?"), symbol("-1")
    ('batch', '', '')
    """
    return "" if name.strip() in _PLACEHOLDERS else name


def ties(name: str) -> bool:
    """Return True if all dimensions of this name are one size.

    Converters also write numbered unknowns (``unk__12``).  They can be fixed by their names, but
    a size given for one says nothing about another.
    """
    return bool(symbol(name)) and _NUMBERED.fullmatch(name) is None
