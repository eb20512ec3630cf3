# SPDX-License-Identifier: Apache-2.0
"""JSON files read exactly, and checks of their values that name the path of a fault."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ..errors import GraphError
from ..units import INT64_MAX, to_ps
from .text_file import text_of

__all__ = [
    "JsonObject",
    "check_object",
    "describe",
    "flag_of",
    "indices_of",
    "list_of",
    "name_of",
    "parse_json",
    "read_json",
    "rows_of",
    "size_of",
    "time_of",
    "whole",
]


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; numbers with a fraction or an exponent are Decimals."""
    return parse_json(text_of(path), str(path))


class JsonObject(dict[str, Any]):
    """A JSON object that remembers a key given twice, so that the error can name its path."""

    twice: str | None = None

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> JsonObject:
        """Make an object of the pairs that json found."""
        made = cls(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            made.twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add() returns None, which is the point
        return made


def parse_json(text: str, item: str) -> Any:
    """Return the content of a JSON text; `item` names the file in messages."""
    try:
        return json.loads(
            text,
            parse_float=_decimal,
            parse_int=lambda digits: int(digits) if len(digits) < 20 else Decimal(digits),
            parse_constant=Decimal,
            object_pairs_hook=JsonObject.of,
        )
    except json.JSONDecodeError as error:
        where = f"{item}, line {error.lineno} column {error.colno}"
        raise GraphError(where, "JSON", f"a fault ({error.msg})") from None
    except RecursionError:
        raise GraphError(item, "JSON nested a few levels deep", "far deeper nesting") from None


def _decimal(text: str) -> Decimal:
    """Return the number exactly.  What is not finite is refused later, where its path is known."""
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of more digits than Decimal takes
        return Decimal("Infinity")


def check_object(
    value: Any,
    item: str,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    *,
    others: bool = False,
) -> None:
    """Refuse what is no object, lacks a required key or, unless `others` may be there, has another.

    Formats that are not ours may hold more than a reader needs; ours may not.
    """
    if not isinstance(value, JsonObject):
        raise GraphError(item, "an object", describe(value))
    if value.twice is not None:
        raise GraphError(_key(item, value.twice), "each key once", "the key twice")
    for key in () if others else value:
        if key not in required and key not in optional:
            known = ", ".join((*required, *optional))
            raise GraphError(_key(item, key), f"one of the keys {known}", "an unknown key")
    for key in required:
        if key not in value:
            raise GraphError(_key(item, key), "a value", "no such key")


def _key(item: str, key: str) -> str:
    """Return the path of `key`: ``g.json: name`` at the top, ``g.json: nodes[0].name`` below."""
    return f"{item}.{key}" if item.endswith("]") else f"{item}: {key}"


def rows_of(document: JsonObject, key: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Return the rows of a list under `key`, each with its path."""
    rows = list_of(document.get(key, []), f"{path}: {key}")
    return ((f"{path}: {key}[{i}]", row) for i, row in enumerate(rows))


def describe(value: Any) -> str:
    """Say what a JSON value is, shortly."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def name_of(value: Any, item: str) -> str:
    """Return `value` if it is a text of valid Unicode."""
    if not isinstance(value, str):
        raise GraphError(item, "a text", describe(value))
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise GraphError(item, "valid Unicode", "half of a surrogate pair")
    return value


def list_of(value: Any, item: str) -> list[Any]:
    """Return `value` if it is a list."""
    if not isinstance(value, list):
        raise GraphError(item, "a list", describe(value))
    return value


def flag_of(value: Any, item: str) -> bool:
    """Return `value` if it is a truth value."""
    if not isinstance(value, bool):
        raise GraphError(item, "true or false", describe(value))
    return value


def whole(value: Any, item: str) -> int:
    """Return a whole number from 0 to 2**63 - 1; ``4096.0`` and ``1e9`` are whole too."""
    if isinstance(value, Decimal):
        # The size is looked at first: turning 1e999999 into an int would take all memory.
        if value.is_finite() and value.adjusted() > 18:
            raise GraphError(item, "a value below 2**63", describe(value))
        if not value.is_finite() or value != value.to_integral_value():
            raise GraphError(item, "a whole number >= 0", describe(value))
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise GraphError(item, "a whole number >= 0", describe(value))
    if value > INT64_MAX:
        raise GraphError(item, "a value below 2**63", describe(value))
    return value


def size_of(value: Any, item: str) -> int:
    """Return a size in bytes; a fraction of a byte is rounded up."""
    number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    if not number or (isinstance(value, Decimal) and value.is_nan()) or value < 0:
        raise GraphError(item, "a number of bytes >= 0", describe(value))
    if value > INT64_MAX:
        raise GraphError(item, "a value below 2**63", describe(value))
    return math.ceil(Decimal(value))


def time_of(value: Any, item: str, unit: str) -> int:
    """Return a time in `unit` as picoseconds, rounded up."""
    if not isinstance(value, (int, Decimal)) or isinstance(value, bool):
        raise GraphError(item, "a number >= 0", describe(value))
    return to_ps(value, unit, item=item)


def indices_of(value: Any, item: str) -> list[int]:
    """Return a list of whole numbers."""
    return [whole(v, f"{item}[{i}]") for i, v in enumerate(list_of(value, item))]
