# SPDX-License-Identifier: Apache-2.0
"""What the user wants to stay together, and where: in the user's terms, and in the graph's."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..classes import reachable, stage_classes
from ..errors import InputError
from ..graph import FIRST, LAST, CostGraph
from ..units import format_bytes, parse_bytes
from .fusion import Uses
from .groups import NamedSet, bind, count_of, joined_by

__all__ = ["Constraints", "ConstraintsLike", "Reserve", "apply_constraints", "between", "matching"]

ALL: Final = "all"
"""The key of what is reserved on every device."""


@dataclass(frozen=True)
class Reserve:
    """Bytes of fast memory that something else takes: the runtime, a key-value cache.

    Attributes
    ----------
    every
        On each device.
    stages
        On the devices of single stages, beside that; stages are counted from 0.
    """

    every: int = 0
    stages: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Mapping[Any, Any] | Iterable[str], item: str = "--reserve") -> Reserve:
        """Read ``{"all": "2GiB", 0: 10**9}`` or ``["all=2GiB", "0=1GB"]``.

        Raises
        ------
        InputError
            If a stage is no number from 0 on, or given twice, or a size cannot be read.
        """
        pairs = values.items() if isinstance(values, Mapping) else (_pair(v, item) for v in values)
        every: int | None = None
        stages: dict[int, int] = {}
        for key, value in pairs:
            size = parse_bytes(value, item=f"{item}: {key}")
            text = str(key).strip()
            if text == ALL and every is None:
                every = size
            elif text.isascii() and text.isdigit() and int(text) not in stages:
                stages[int(text)] = size
            else:
                raise InputError(item, "'all' or the number of a stage, each once", repr(key))
        return cls(every or 0, dict(sorted(stages.items())))

    def to_json(self) -> dict[str, int]:
        """Return the form that :meth:`parse` reads."""
        every = {ALL: self.every} if self.every else {}
        return every | {str(stage): size for stage, size in self.stages.items()}

    def __bool__(self) -> bool:
        return bool(self.every or any(self.stages.values()))


def _pair(text: str, item: str) -> tuple[str, str]:
    stage, equals, size = text.partition("=")
    if not equals:
        raise InputError(item, "STAGE=BYTES, such as 0=2GiB or all=512MiB", repr(text))
    return stage, size


@dataclass(frozen=True)
class Constraints:
    """What a plan must respect beyond the graph; regular expressions are searched in node names.

    Attributes
    ----------
    together
        All nodes that match one of these share a stage (one stage per expression).
    never_cut
        Pairs (A, B): all nodes on paths from A to B, both included, share a stage.  A and B are
        names of nodes, or expressions.
    first, last
        All nodes that match are in the first or last stage.
    reserve
        Memory that is not there for the model.
    """

    together: tuple[str, ...] = ()
    never_cut: tuple[tuple[str, str], ...] = ()
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    reserve: Reserve = Reserve()

    @classmethod
    def of(cls, value: ConstraintsLike) -> Constraints:
        """Return constraints from a mapping with the attributes' names, or from a TOML file."""
        if value is None:
            return cls()
        if isinstance(value, Constraints):
            return value
        if isinstance(value, Mapping):
            return cls.from_json(value, "constraints")
        return cls.load(value)

    @classmethod
    def load(cls, path: str | Path) -> Constraints:
        """Read a TOML file.

        Raises
        ------
        InputError
            If it cannot be read, is no TOML, or holds something else than constraints.
        """
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(str(path), "a readable file", error.strerror or str(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(str(path), "TOML", f"a fault ({error})") from None
        return cls.from_json(data, str(path))

    @classmethod
    def from_json(cls, data: Mapping[str, Any], item: str) -> Constraints:
        """Read a mapping; `item` names it in messages.

        Raises
        ------
        InputError
            If it has an unknown key, or a value of another kind.
        """
        known = [entry.name for entry in fields(cls)]
        for key in data:
            if key not in known:
                raise InputError(f"{item}: {key}", f"one of {', '.join(known)}", "an unknown key")
        reserve = data.get("reserve", {})
        if not isinstance(reserve, Mapping):
            raise InputError(f"{item}: reserve", "a table of sizes by stage", repr(reserve))
        return cls(
            together=_texts(data.get("together", ()), f"{item}: together"),
            never_cut=tuple(
                cut_of(value, f"{item}: never_cut[{i}]")
                for i, value in enumerate(_list(data.get("never_cut", ()), f"{item}: never_cut"))
            ),
            first=_texts(data.get("first", ()), f"{item}: first"),
            last=_texts(data.get("last", ()), f"{item}: last"),
            reserve=Reserve.parse(reserve, f"{item}: reserve"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the form that :meth:`from_json` reads, without what is not asked for."""
        form = {
            "together": list(self.together),
            "never_cut": [list(pair) for pair in self.never_cut],
            "first": list(self.first),
            "last": list(self.last),
            "reserve": self.reserve.to_json(),
        }
        return {key: value for key, value in form.items() if value}

    def __or__(self, other: Constraints) -> Constraints:
        """Return both together; of reserves, the other's where both say something of a stage."""
        return Constraints(
            _distinct(self.together + other.together),
            _distinct(self.never_cut + other.never_cut),
            _distinct(self.first + other.first),
            _distinct(self.last + other.last),
            Reserve(
                other.reserve.every or self.reserve.every,
                {**self.reserve.stages, **other.reserve.stages},
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.to_json())


ConstraintsLike = Constraints | Mapping[str, Any] | str | Path | None
"""What :meth:`Constraints.of` takes."""


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def _list(value: Any, item: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise InputError(item, "a list", repr(value))
    return value


def _texts(value: Any, item: str) -> tuple[str, ...]:
    for text in _list(value, item):
        if not isinstance(text, str):
            raise InputError(item, "texts", repr(text))
    return tuple(value)


def cut_of(value: Any, item: str = "--never-cut") -> tuple[str, str]:
    """Return (A, B) of ``"A..B"`` or ``["A", "B"]``."""
    parts = value.split("..") if isinstance(value, str) else value
    if (
        not isinstance(parts, (list, tuple))
        or len(parts) != 2
        or not all(isinstance(part, str) and part for part in parts)
    ):
        raise InputError(
            item,
            "A..B with two names or expressions",
            repr(value),
            "Where one of them has two points in a row, use a file: never_cut = [['A', 'B']].",
        )
    return parts[0], parts[1]


def apply_constraints(graph: CostGraph, constraints: Constraints) -> tuple[CostGraph, list[str]]:
    """Return the graph with the constraints in it, and a line for people on each.

    Raises
    ------
    InputError
        If an expression is damaged or matches nothing, a pair has no path, or constraints exclude
        each other; the message names expressions and nodes.
    """
    if not constraints:
        return graph, []
    sets: list[NamedSet] = []
    lines: list[str] = []
    for pattern in constraints.together:
        nodes = matching(graph, pattern, "--together")
        sets.append((f"together {pattern}", nodes))
        lines.append(f"together {pattern}: {count_of(len(nodes), 'node')}")
    for a, b in constraints.never_cut:
        nodes = between(graph, a, b)
        sets.append((f"never cut {a}..{b}", nodes))
        lines.append(f"never cut {a}..{b}: {count_of(len(nodes), 'node')}")
    stage = graph.stage.tolist()
    for option, patterns, pin in (
        ("--first", constraints.first, FIRST),
        ("--last", constraints.last, LAST),
    ):
        for pattern in patterns:
            nodes = matching(graph, pattern, option)
            for v in nodes:
                if stage[v] not in (0, pin):
                    name, other = graph.node_names[v], "last" if pin == FIRST else "first"
                    raise InputError(
                        f"{option} {pattern}",
                        "free nodes",
                        f"'{name}', pinned to the {other} stage",
                    )
                stage[v] = pin
            lines.append(
                f"{option.removeprefix('--')} stage {pattern}: {count_of(len(nodes), 'node')}"
            )
    bound = bind(graph.replace(stage=np.array(stage, np.int32)), sets)
    if constraints.first or constraints.last:
        _check_pins(bound)
    joined = str(joined_by(bound, sets)) if sets else ""
    if joined:
        lines.append(f"sets of nodes that share a stage: {joined}")
    every, single = constraints.reserve.every, constraints.reserve.stages
    if every:
        lines.append(f"reserved on every device: {format_bytes(every)}")
    lines += [f"reserved on the device of stage {i}: {format_bytes(b)}" for i, b in single.items()]
    return bound, lines


def matching(graph: CostGraph, pattern: str, item: str) -> list[int]:
    """Return the nodes whose name the expression is found in.

    Raises
    ------
    InputError
        If it is no regular expression, or found in no name; then near names are named.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise InputError(
            f"{item} {pattern}", "a regular expression", f"a fault ({error})"
        ) from None
    found = [v for v, name in enumerate(graph.node_names) if search(name)]
    if not found:
        raise InputError(
            f"{item} {pattern}",
            "an expression that some node's name matches",
            f"none of {graph.num_nodes}",
            _near(graph.node_names, pattern),
        )
    return found


def _near(names: Sequence[str], pattern: str) -> str:
    """Name the nodes that resemble what was asked for."""
    plain = re.sub(r"\\(.)", r"\1", pattern).strip("^$")
    lower = {name.lower(): name for name in reversed(names)}
    near = [lower[name] for name in difflib.get_close_matches(plain.lower(), lower, 3, 0.5)]
    if near:
        return f"Near: {', '.join(repr(name) for name in near)}."
    return f"Names look like {', '.join(repr(name) for name in names[:3])}."


def between(graph: CostGraph, a: str, b: str) -> list[int]:
    """Return the nodes on paths from A to B, both included; each is a name or an expression.

    Raises
    ------
    InputError
        If A or B matches nothing, or no path leads from A to B.
    """
    item = f"--never-cut {a}..{b}"
    starts, ends = (_named(graph, text, item) for text in (a, b))
    uses = Uses(graph)
    after = [[u for t in row for u in uses.consumers[t]] for row in uses.writes]
    before = [[uses.producer[t] for t in row] for row in uses.reads]
    found = set(reachable(after, starts)) & set(reachable(before, ends))
    if not found:
        swapped = set(reachable(after, ends)) & set(reachable(before, starts))
        raise InputError(
            item,
            "a path from the first to the second",
            "paths from the second to the first only" if swapped else "none in either direction",
            f"Write {b}..{a}." if swapped else "Use --together to keep them in one stage.",
        )
    return sorted(found)


def _named(graph: CostGraph, text: str, item: str) -> list[int]:
    exact = graph.index_of.get(text)
    if exact is not None:
        return [exact]
    try:
        return matching(graph, text, item)
    except InputError as error:
        raise InputError(f"{item}: '{text}'", error.expected, error.got, error.remedy) from None


def _check_pins(graph: CostGraph) -> None:
    """Refuse pins that leave one stage for everything."""
    _, first, last = stage_classes(graph)
    if first < 0 or first != last:
        return
    names, stage = graph.node_names, graph.stage.tolist()
    uses = Uses(graph)
    # A group ties its nodes to each other in both directions.
    ties: dict[int, list[int]] = {}
    for v, group in enumerate(graph.group.tolist()):
        if group >= 0:
            ties.setdefault(group, []).append(v)
    after = [[u for t in row for u in uses.consumers[t]] for row in uses.writes]
    for nodes in ties.values():
        for v in nodes:
            after[v].extend(nodes)
    for a, b in graph.uncuttable.tolist():
        after[a].append(b)
        after[b].append(a)
    for v in (v for v, pin in enumerate(stage) if pin == LAST):
        hit = next((u for u in reachable(after, [v]) if stage[u] == FIRST), None)
        if hit is not None:
            raise InputError(
                "--first and --last",
                "first nodes that need nothing of last nodes and share no stage with them",
                f"'{names[hit]}' (first), which needs or shares a stage with '{names[v]}' (last)",
                "Everything would be one stage; loosen one of them.",
            )
    pinned = [names[v] for v, pin in enumerate(stage) if pin]
    raise InputError(
        "--first and --last",
        "pins that leave more than one stage",
        f"pins of {', '.join(map(repr, pinned[:4]))} that force everything into one",
        "Loosen one of them.",
    )
