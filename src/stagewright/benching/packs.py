# SPDX-License-Identifier: Apache-2.0
"""Packs: many cost graphs in one compressed file, each with a digest of its content.

A pack is lines of JSON compressed with xz (``.jsonl.xz``), one graph a line: its name, its graph file
(docs/formats.md), and the element types and kinds of its nodes, which a graph file does not hold and estimates of work
need.  Graphs of one field repeat each other's names and shapes, so that together they take a few
kilobytes each.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_whole
from ..graph import CostGraph
from ..readers.graph_file import graph_of_document
from ..readers.graph_writer import graph_text
from ..readers.json_file import parse_json

__all__ = ["SUFFIX", "graph_of_line", "line_of", "lines_of_pack", "name_of_line", "write_pack"]

SUFFIX = ".jsonl.xz"
_LARGEST = 1 << 30  # bytes of a pack's text: a small file may unpack to very much


def line_of(graph: CostGraph, name: str) -> str:
    """Return the line of a graph under another name."""
    document = json.loads(graph_text(graph.replace(name="")))
    content = {
        "graph": document,
        "dtypes": _coded(graph.node_dtypes),
        "kinds": _coded(graph.node_kinds),
    }
    return json.dumps({"name": name, "digest": _digest(content), **content}, separators=(",", ":"))


def name_of_line(line: str) -> tuple[str, str]:
    """Return the name and the digest of a line, which come first in it."""
    head = json.loads(line[: line.index(',"graph":')] + "}")
    return head["name"], head["digest"]


def graph_of_line(line: str, item: str) -> CostGraph:
    """Return the graph of a line.

    Raises
    ------
    InputError
        If the line is not what :func:`line_of` makes, or its digest is not that of its content.
    """
    try:
        entry = parse_json(line, item)
        name, digest = entry.pop("name"), entry.pop("digest")
        document, dtypes, kinds = entry["graph"], entry["dtypes"], entry["kinds"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            item, "a line of name, digest, graph, dtypes, kinds", "something else"
        ) from None
    found = _digest(entry)
    if found != digest:
        raise InputError(f"{item}: {name}", f"content of digest {digest}", found, "Make it anew.")
    document["name"] = name
    graph = graph_of_document(document, Path(item))
    return graph.replace(node_dtypes=_decoded(dtypes), node_kinds=_decoded(kinds))


def write_pack(path: Path, lines: Iterable[str]) -> int:
    """Write a pack, sorted by name, one line for each content; return how many there are.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    seen: dict[str, str] = {}
    for line in sorted(lines, key=name_of_line):
        seen.setdefault(name_of_line(line)[1], line)
    text = "".join(f"{line}\n" for line in seen.values())
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 27}]
    write_whole(path, lzma.compress(text.encode(), filters=filters))
    return len(seen)


@lru_cache(maxsize=4)
def lines_of_pack(path: Path) -> dict[str, str]:
    """Return the lines of a pack by name.

    Raises
    ------
    InputError
        If the file cannot be read or is no pack.
    """
    try:
        with lzma.open(path) as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(str(path), "at most 1 GiB of text", "more")
        return {name_of_line(line)[0]: line for line in content.decode().splitlines()}
    except OSError as error:
        raise InputError(str(path), "a readable pack", error.strerror or str(error)) from None
    except (lzma.LZMAError, EOFError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(path), "lines of JSON compressed with xz", str(error)) from None


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _coded(values: tuple[str, ...]) -> dict[str, Any]:
    """Return the distinct values and the place of each."""
    known = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return {"values": list(known), "of": [known[value] for value in values]}


def _decoded(coded: dict[str, Any]) -> tuple[str, ...]:
    return tuple(coded["values"][i] for i in coded["of"])
