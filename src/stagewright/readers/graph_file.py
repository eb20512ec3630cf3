# SPDX-License-Identifier: Apache-2.0
"""The door of graph files: ``stagewright-graph/1``, plain JSON or gzip (docs/formats.md)."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from ..errors import GraphError, InputError
from ..graph import FIRST, FREE, LAST, CostGraph, GraphBuilder
from ..units import INT64_MAX, TIME_UNITS, to_ps
from .graph_writer import FORMAT, write_graph_file

__all__ = ["FORMAT", "MAX_TEXT_BYTES", "read_graph_file", "write_graph_file"]

MAX_TEXT_BYTES: Final = 4 * 2**30
"""Largest text read from a graph file, after expansion: a hostile gzip file stops here."""

_STAGES: Final = {"first": FIRST, "last": LAST}
_NODE_KEYS: Final = ("op", "flops", "bytes", "group", "stage", "replicable")


class _Object(dict[str, Any]):
    """A JSON object that remembers a key given twice, so that the error can name its path."""

    twice: str | None = None

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> _Object:
        made = cls(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            made.twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add() returns None, which is the point
        return made


def read_graph_file(path: str | Path) -> CostGraph:
    """Read a graph file.

    Decimals are read exactly; times that are not whole picoseconds are rounded up.

    Raises
    ------
    InputError
        If the file cannot be read; every message names the file and the path inside it, such as
        ``model.json: nodes[3].work``.  Faults of the graph itself are :class:`GraphError`.
    """
    path = Path(path)
    document = _parse(_text_of(path), str(path))
    _check_object(
        document,
        str(path),
        ("format", "name", "time_unit", "nodes", "tensors"),
        ("params", "uncuttable"),
    )
    found = document["format"]
    if found != FORMAT:
        raise GraphError(f"{path}: format", f"'{FORMAT}'", repr(found))
    unit = _text(document["time_unit"], f"{path}: time_unit")
    if unit not in TIME_UNITS:
        raise GraphError(f"{path}: time_unit", f"one of {', '.join(TIME_UNITS)}", repr(unit))
    builder = GraphBuilder(_text(document["name"], f"{path}: name"))
    for item, node in _rows(document, "nodes", path):
        _add_node(builder, node, item, unit)
    for item, tensor in _rows(document, "tensors", path):
        _add_tensor(builder, tensor, item, unit)
    for item, param in _rows(document, "params", path):
        _add_param(builder, param, item)
    for item, pair in _rows(document, "uncuttable", path):
        _add_pair(builder, pair, item)
    with _Place(str(path)):
        return builder.build()


class _Place:
    """Prefix the item of a GraphError raised inside with the place in the file."""

    def __init__(self, item: str) -> None:
        self.item = item

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, GraphError) and not error.item.startswith(self.item):
            raise GraphError(
                f"{self.item}: {error.item}", error.expected, error.got, error.remedy
            ) from None


def _text_of(path: Path) -> str:
    """Return the text of a plain or gzip file of at most :data:`MAX_TEXT_BYTES`."""
    pieces = bytearray()
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            source: Any = gzip.GzipFile(fileobj=file) if packed else file
            while piece := source.read(2**20):
                pieces += piece
                if len(pieces) > MAX_TEXT_BYTES:
                    raise GraphError(
                        str(path),
                        f"at most {MAX_TEXT_BYTES} bytes of text",
                        "more (after expansion)",
                    )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise GraphError(str(path), "a whole gzip file", f"a damaged one ({error})") from None
    except OSError as error:
        raise InputError(str(path), "a readable file", error.strerror or str(error)) from None
    try:
        return pieces.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GraphError(
            str(path), "UTF-8 text", f"byte 0x{pieces[error.start]:02x} at position {error.start}"
        ) from None


def _parse(text: str, item: str) -> Any:
    try:
        return json.loads(
            text,
            parse_float=_decimal,
            parse_int=lambda digits: int(digits) if len(digits) < 20 else Decimal(digits),
            parse_constant=Decimal,
            object_pairs_hook=_Object.of,
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


def _check_object(
    value: Any, item: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    if not isinstance(value, _Object):
        raise GraphError(item, "an object", _describe(value))
    if value.twice is not None:
        raise GraphError(_key(item, value.twice), "each key once", "the key twice")
    for key in value:
        if key not in required and key not in optional:
            known = ", ".join((*required, *optional))
            raise GraphError(_key(item, key), f"one of the keys {known}", "an unknown key")
    for key in required:
        if key not in value:
            raise GraphError(_key(item, key), "a value", "no such key")


def _key(item: str, key: str) -> str:
    """Return the path of `key`: ``g.json: name`` at the top, ``g.json: nodes[0].name`` below."""
    return f"{item}.{key}" if item.endswith("]") else f"{item}: {key}"


def _rows(document: _Object, key: str, path: Path) -> Iterator[tuple[str, Any]]:
    rows = _list(document.get(key, []), f"{path}: {key}")
    return ((f"{path}: {key}[{i}]", row) for i, row in enumerate(rows))


def _describe(value: Any) -> str:
    """Say what a JSON value is, shortly."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: Any, item: str) -> str:
    if not isinstance(value, str):
        raise GraphError(item, "a text", _describe(value))
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise GraphError(item, "valid Unicode", "half of a surrogate pair")
    return value


def _list(value: Any, item: str) -> list[Any]:
    if not isinstance(value, list):
        raise GraphError(item, "a list", _describe(value))
    return value


def _flag(value: Any, item: str) -> bool:
    if not isinstance(value, bool):
        raise GraphError(item, "true or false", _describe(value))
    return value


def _whole(value: Any, item: str) -> int:
    """Return a whole number from 0 to 2**63 - 1; ``4096.0`` and ``1e9`` are whole too."""
    if isinstance(value, Decimal):
        # The size is looked at first: turning 1e999999 into an int would take all memory.
        if value.is_finite() and value.adjusted() > 18:
            raise GraphError(item, "a value below 2**63", _describe(value))
        if not value.is_finite() or value != value.to_integral_value():
            raise GraphError(item, "a whole number >= 0", _describe(value))
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise GraphError(item, "a whole number >= 0", _describe(value))
    if value > INT64_MAX:
        raise GraphError(item, "a value below 2**63", _describe(value))
    return value


def _time(value: Any, item: str, unit: str) -> int:
    if not isinstance(value, (int, Decimal)) or isinstance(value, bool):
        raise GraphError(item, "a number >= 0", _describe(value))
    return to_ps(value, unit, item=item)


def _add_node(builder: GraphBuilder, node: Any, item: str, unit: str) -> None:
    _check_object(node, item, ("name", "work"), _NODE_KEYS)
    stage = FREE
    if "stage" in node:
        stage = _STAGES.get(_text(node["stage"], f"{item}.stage"), FREE)
        if stage == FREE:
            raise GraphError(f"{item}.stage", "'first' or 'last'", _describe(node["stage"]))
    group = _text(node["group"], f"{item}.group") if "group" in node else None
    with _Place(item):
        builder.add_node(
            _text(node["name"], f"{item}.name"),
            op=_text(node.get("op", ""), f"{item}.op"),
            work=_time(node["work"], f"{item}.work", unit),
            flops=_whole(node.get("flops", 0), f"{item}.flops"),
            nbytes=_whole(node.get("bytes", 0), f"{item}.bytes"),
            group=group,
            stage=stage,
            replicable=_flag(node.get("replicable", False), f"{item}.replicable"),
        )


def _indices(value: Any, item: str) -> list[int]:
    return [_whole(v, f"{item}[{i}]") for i, v in enumerate(_list(value, item))]


def _add_tensor(builder: GraphBuilder, tensor: Any, item: str, unit: str) -> None:
    _check_object(tensor, item, ("producer", "consumers"), ("bytes", "cost"))
    with _Place(item):
        builder.add_tensor(
            _whole(tensor["producer"], f"{item}.producer"),
            _indices(tensor["consumers"], f"{item}.consumers"),
            nbytes=_whole(tensor["bytes"], f"{item}.bytes") if "bytes" in tensor else None,
            time=_time(tensor["cost"], f"{item}.cost", unit) if "cost" in tensor else None,
        )


def _add_param(builder: GraphBuilder, param: Any, item: str) -> None:
    _check_object(param, item, ("bytes", "users"))
    with _Place(item):
        builder.add_param(
            _whole(param["bytes"], f"{item}.bytes"), _indices(param["users"], f"{item}.users")
        )


def _add_pair(builder: GraphBuilder, pair: Any, item: str) -> None:
    nodes = _indices(pair, item)
    if len(nodes) != 2:
        raise GraphError(item, "two node indices", f"{len(nodes)}")
    with _Place(item):
        builder.never_cut(*nodes)
