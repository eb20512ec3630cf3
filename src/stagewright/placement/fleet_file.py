# SPDX-License-Identifier: Apache-2.0
"""The door of machine files: TOML tables of devices (docs/placement.md)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from ..cost.catalogue import Catalogue, load_catalogue
from ..cost.roofline import apply_roofline
from ..errors import InputError
from ..units import parse_bandwidth, parse_bytes, parse_time
from .devices import UNABLE, Fleet, Kind, Link
from .schedule import Schedule
from .workload import Workload

__all__ = ["read_fleet"]

_TRAINING: Final = ("schedule", "microbatches", "optimizer", "recompute", "replicas", "chunks")
_TOP: Final = (
    "training",
    "device",
    "order",
    "overlap",
    "shared",
    "link_inside",
    "link_between",
    "links",
)
_DEVICE: Final = (
    "kind",
    "count",
    "device",
    "memory",
    "memory_limit",
    "link",
    "bandwidth",
    "latency",
    "transfers",
    "work",
    "scale",
    "unsupported",
    "host",
    "cost",
)
_Table = Mapping[str, Any]


def read_fleet(path: str | Path, workload: Workload, catalogue: Catalogue | None = None) -> Fleet:
    """Return the devices that a file describes, with the work of the workload's nodes on each kind.

    Raises
    ------
    InputError
        If the file cannot be read, or an entry cannot be used; the message names it.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(str(path), "a readable machine file", reason) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(str(path), "a TOML file", f"a fault: {error}") from None
    _known(document, _TOP, str(path))
    tables = document.get("device")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path}: device", "at least one [[device]] table", _say(tables))
    known = catalogue or load_catalogue()
    reader = _Reader(path, workload, known)
    kinds = tuple(reader.kind(table, f"{path}: device[{i}]") for i, table in enumerate(tables))
    order = reader.order(document, kinds, tables)
    return Fleet(
        kinds,
        order,
        reader.links(document, order, tables),
        _flag(document.get("overlap", False), f"{path}: overlap"),
        _schedule(document, path),
        _flag(document.get("shared", False), f"{path}: shared"),
    )


def _schedule(document: _Table, path: Path) -> Schedule | None:
    """Return the schedule of the ``[training]`` table."""
    if "training" not in document:
        return None
    table, item = document["training"], f"{path}: training"
    if not isinstance(table, dict):
        raise InputError(item, "a table", _say(table))
    _known(table, _TRAINING, item)
    given = {("name" if key == "schedule" else key): value for key, value in table.items()}
    if "optimizer" in given:
        given["optimizer"] = str(given["optimizer"])
    try:
        return Schedule(**given)
    except InputError as error:
        raise InputError(f"{item}: {error.item}", error.expected, error.got) from None


class _Reader:
    """Reads the entries of one file."""

    def __init__(self, path: Path, workload: Workload, catalogue: Catalogue) -> None:
        self.path, self.workload, self.catalogue = path, workload, catalogue

    def kind(self, table: _Table, item: str) -> Kind:
        """Return one kind."""
        _known(table, _DEVICE, item)
        name = _text(table.get("kind", table.get("device")), f"{item}.kind")
        found = self.catalogue.device(table["device"]) if "device" in table else None
        limit = _size(table, "memory_limit", item)
        memory = _size(table, "memory", item)
        if found is not None and memory is None and limit is None:
            memory = found.memory
        return Kind(
            name,
            _whole(table.get("count", 1), f"{item}.count"),
            self._link(table, item, None if found is None else found.link),
            self._work(table, item),
            memory,
            limit,
            _whole(table.get("cost", 1), f"{item}.cost"),
            _text(table["host"], f"{item}.host") if "host" in table else "",
        )

    def _link(self, table: _Table, item: str, usual: str | None) -> Link:
        transfers = table.get("transfers", "charged")
        if transfers not in ("charged", "free"):
            raise InputError(f"{item}.transfers", "'charged' or 'free'", repr(transfers))
        name = table.get("link", usual if "bandwidth" not in table else None)
        bandwidth, latency = None, 0
        if name is not None:
            found = self.catalogue.link(_text(name, f"{item}.link"))
            bandwidth, latency = found.bandwidth, found.latency
        if "bandwidth" in table:
            bandwidth = parse_bandwidth(table["bandwidth"], item=f"{item}.bandwidth")
        if "latency" in table:
            latency = parse_time(table["latency"], item=f"{item}.latency")
        return Link(bandwidth, latency, transfers == "free")

    def _work(self, table: _Table, item: str) -> tuple[int, ...] | None:
        """Return the work of the nodes on a kind; None where it is the graph's own."""
        graph = self.workload.graph
        row: Sequence[int] | None = None
        if "work" in table:
            name = _text(table["work"], f"{item}.work")
            if name not in self.workload.rows:
                known = ", ".join(self.workload.rows) or "none (the model has no such file)"
                raise InputError(f"{item}.work", f"a row of work: {known}", repr(name))
            row = self.workload.rows[name]
        elif "device" in table and graph.flops.any():
            row = apply_roofline(graph, self.catalogue.device(table["device"])).work.tolist()
        if "scale" in table:
            scale = _factor(table["scale"], f"{item}.scale")
            base = graph.work.tolist() if row is None else row
            row = [w if w == UNABLE else -(-w * scale.numerator // scale.denominator) for w in base]
        if "unsupported" in table:
            patterns = [_pattern(text, f"{item}.unsupported") for text in _texts(table, item)]
            base = graph.work.tolist() if row is None else row
            names = zip(base, graph.node_names, graph.node_ops, strict=True)
            row = [
                UNABLE if any(p.fullmatch(op) or p.fullmatch(node) for p in patterns) else w
                for w, node, op in names
            ]
        return None if row is None else tuple(row)

    def order(
        self, document: _Table, kinds: Sequence[Kind], tables: Sequence[_Table]
    ) -> tuple[int, ...] | None:
        """Return the fixed order, if the file gives one; ``fixed`` is that of the tables."""
        order, item = document.get("order", "any"), f"{self.path}: order"
        if order == "any":
            return None
        if order == "fixed":
            return tuple(q for q, kind in enumerate(kinds) for _ in range(kind.count))
        if not isinstance(order, list):
            raise InputError(item, "'any', 'fixed' or a list of kinds", _say(order))
        number = {kind.name: q for q, kind in enumerate(kinds)}
        for name in order:
            if not isinstance(name, str) or name not in number:
                raise InputError(item, f"kinds: {', '.join(number)}", _say(name))
        return tuple(number[name] for name in order)

    def links(
        self, document: _Table, order: tuple[int, ...] | None, tables: Sequence[_Table]
    ) -> tuple[Link, ...] | None:
        """Return the links between neighbours: listed, or by the hosts that places are in."""
        if "links" in document:
            item = f"{self.path}: links"
            names = document["links"]
            if not isinstance(names, list):
                raise InputError(item, "a list of links of the catalogue", _say(names))
            return tuple(self._named(name, item) for name in names)
        if "link_inside" not in document and "link_between" not in document:
            return None
        for key in ("link_inside", "link_between"):
            if key not in document:
                raise InputError(f"{self.path}: {key}", "a link beside the other one", "none")
        if order is None:
            raise InputError(
                f"{self.path}: link_between", "a fixed order of devices beside it", "any order"
            )
        hosts = [table.get("host", f"device {i}") for i, table in enumerate(tables)]
        inside = self._named(document["link_inside"], f"{self.path}: link_inside")
        between = self._named(document["link_between"], f"{self.path}: link_between")
        return tuple(inside if hosts[a] == hosts[b] else between for a, b in pairwise(order))

    def _named(self, name: Any, item: str) -> Link:
        """Return a link by its name, or by its bandwidth."""
        text = _text(name, item)
        if text in self.catalogue.links:
            found = self.catalogue.links[text]
            return Link(found.bandwidth, found.latency)
        if re.match(r"\s*[0-9.]", text):
            return Link(parse_bandwidth(text, item=item))
        found = self.catalogue.link(text)
        return Link(found.bandwidth, found.latency)


def _known(table: _Table, known: Sequence[str], item: str) -> None:
    for key in table:
        if key not in known:
            raise InputError(f"{item}: {key}", f"one of the keys {', '.join(known)}", "another")


def _say(value: Any) -> str:
    return "none" if value is None else repr(value)


def _text(value: Any, item: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(item, "a text", _say(value))
    return value


def _texts(table: _Table, item: str) -> list[str]:
    values = table["unsupported"]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{item}.unsupported", "a list of operators or names", _say(values))
    return values


def _pattern(text: str, item: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(item, "a regular expression", f"{text!r} ({error})") from None


def _whole(value: Any, item: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(item, "a whole number", _say(value))
    return value


def _flag(value: Any, item: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(item, "true or false", _say(value))
    return value


def _factor(value: Any, item: str) -> Fraction:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1e12:
        raise InputError(item, "a number above 0", _say(value))
    return Fraction(str(value))


def _size(table: _Table, key: str, item: str) -> int | None:
    return parse_bytes(table[key], item=f"{item}.{key}") if key in table else None
