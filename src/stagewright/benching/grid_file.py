# SPDX-License-Identifier: Apache-2.0
"""The file of a grid.

stages = [2, 4, 8]
methods = ["plan", "simple", "anchor", "brkga-100"]
limits = [5.0]                     # seconds of each run; seeds = [0] and threads = 1 unless given
open_limits = [60.0]               # further runs of "plan", only where the one before left a gap

[machines.fast]                    # as the options of `stagewright plan`, and fuse = false
device = "h100-sxm"

[machines.half]                    # costs by which the others' plans are judged: scale_link, scale_compute,
device = "h100-sxm"                # scale_memory_rate multiply the catalogue's rates
scale_link = 0.5

[[instances]]
set = "testbed"                    # a name in the tables
files = ["graphs/*.jsonl.xz"]      # packs, models, graph files; relative to the grid
only = "vision/"                   # a regular expression of names; every = 10, first = 100, machines = ["fast"] too
fuse = false                       # wins over the machines': true prices kernels, false operators
constraints = false                # without the files' groups and pins
published = "expected.json"        # optima for the method "published", by the files' names
methods = ["plan@fast"]            # stages, methods, seeds, limits, open_limits of its own, instead of those above

[[instances]]
set = "synthetic"
random = 1000                      # random DAGs, whose costs are times; seed = 0, communication = 1.0

[[instances]]
set = "growth"
families = ["layered"]             # synthetic models: layered, transformer, experts, random
nodes = [1000, 10000]
nodes_per_stage = 1500             # instead of stages
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from .families import FAMILIES
from .grid import Instance, Part
from .methods import METHODS
from .packs import SUFFIX, lines_of_pack, name_of_line
from .random_dags import random_parameters

__all__ = ["read_grid"]

_MACHINE = frozenset(
    ("device", "link", "bandwidth", "latency", "memory", "memory_limit", "count_graph_io", "fuse")
)
_SCALES = ("scale_link", "scale_compute", "scale_memory_rate")
_RUNS = frozenset(("stages", "methods", "seeds", "limits", "open_limits", "threads"))
_CHOICE = frozenset(("set", "only", "every", "first", "machines"))
_SOURCES: Mapping[str, frozenset[str]] = {
    "files": frozenset(("files", "constraints", "published", "fuse")),
    "random": frozenset(("random", "seed", "communication")),
    "families": frozenset(("families", "nodes", "nodes_per_stage", "seed")),
}

Table = Mapping[str, Any]


def read_grid(path: Path) -> tuple[Part, ...]:
    """Return the parts of a grid.

    Raises
    ------
    InputError
        If the file cannot be read, a key is unknown, a value is of the wrong kind, or no instance is left.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(str(path), "a readable grid", error.strerror or str(error)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(str(path), "TOML", str(error)) from None
    return _Reader(path, data).parts()


@dataclass(frozen=True)
class _Reader:
    path: Path
    data: Table
    found: dict[tuple[str, str, str], Instance] = field(default_factory=dict)

    def parts(self) -> tuple[Part, ...]:
        self.refuse_others(self.data, _RUNS | {"machines", "instances"}, "")
        for name, machine in self.machines().items():
            self.require(isinstance(machine, dict), f"machines.{name}", "a table", machine)
            self.machine(machine, f"machines.{name}.")
        tables = self.value(self.data, "instances", list, None, "")
        parts = []
        for number, table in enumerate(tables):
            item = f"instances[{number}]"
            self.require(isinstance(table, dict), item, "a table", table)
            parts.append(self.part(table, f"{item}."))
        self.require(any(part.instances for part in parts), "instances", "at least one", "none")
        return tuple(parts)

    def machines(self) -> dict[str, Any]:
        found: dict[str, Any] = self.value(self.data, "machines", dict, {}, "")
        return found

    def machines_of(self, table: Table, item: str) -> dict[str, Any]:
        """Return the machines, fusing as a table of instances says."""
        if "fuse" not in table:
            return self.machines()
        self.require(bool(self.machines()), f"{item}fuse", "machines for which to price", "none")
        fuse = self.value(table, "fuse", bool, None, item)
        return {name: {**machine, "fuse": fuse} for name, machine in self.machines().items()}

    def machine(self, table: Table, item: str) -> None:
        self.refuse_others(table, _MACHINE | frozenset(_SCALES), item)
        for key in _SCALES:
            factor = table.get(key, 1.0)
            good = isinstance(factor, (int, float)) and not isinstance(factor, bool) and factor > 0
            self.require(good, f"{item}{key}", "a number > 0", factor)
            self.require(key not in table or "device" in table, f"{item}{key}", "a device", "none")

    def part(self, table: Table, item: str) -> Part:
        kinds = [kind for kind in _SOURCES if kind in table]
        whole, expected = item.rstrip("."), "one of files, random and families"
        self.require(len(kinds) == 1, whole, expected, f"{len(kinds)} of them")
        self.refuse_others(table, _RUNS | _CHOICE | _SOURCES[kinds[0]], item)

        def own(key: str) -> tuple[Table, str]:
            return (table, item) if key in table else (self.data, "")

        instances = tuple(self.instances(table, item, kinds[0]))
        for one in instances:
            name = (one.set, one.name, one.machine)
            known = self.found.setdefault(name, one)
            same = (known.digest, known.source, known.options) == (one.digest, one.source, one.options)  # fmt: skip
            self.require(same, whole, "names that differ", "/".join(name))
        of_their_own = bool(instances) and all(one.stages for one in instances)
        return Part(
            stages=self.numbers(*own("stages"), "stages", [1] if of_their_own else None),
            methods=self.methods(*own("methods")),
            seeds=self.numbers(*own("seeds"), "seeds", [0], least=0),
            limits=self.limits(*own("limits"), "limits", [5.0]),
            open_limits=self.limits(*own("open_limits"), "open_limits", []),
            threads=self.threads(*own("threads")),
            instances=instances,
            machines=tuple((name, _sorted(m)) for name, m in self.machines_of(table, item).items()),
        )

    def threads(self, table: Table, item: str) -> int:
        found: int = self.value(table, "threads", int, 1, item)
        self.require(found >= 1, f"{item}threads", "a whole number >= 1", found)
        return found

    def methods(self, table: Table, item: str) -> tuple[str, ...]:
        found = self.value(table, "methods", list, ["plan"], item)
        for method in found:
            self.method(method, f"{item}methods")
        return tuple(found)

    def method(self, method: Any, item: str) -> None:
        plain, at, other = method.partition("@") if isinstance(method, str) else (method, "", "")
        if at and plain == "plan":
            self.require(other in self.machines(), item, "plan@ and the name of a machine", method)
        else:
            self.require(method in METHODS, item, f"some of {', '.join(METHODS)}", method)

    def instances(self, table: Table, item: str, kind: str) -> Iterator[Instance]:
        readers = {"files": self.files, "random": self.random, "families": self.families}
        own_set = self.value(table, "set", str, None, item)
        only = self.pattern(table, item)
        every = self.value(table, "every", int, 1, item)
        self.require(every >= 1, f"{item}every", "a whole number >= 1", every)
        first = self.value(table, "first", int, 10**9, item)
        kept = [one for one in readers[kind](table, item) if only.search(one.name)][::every][:first]
        machines: Mapping[str, Table] = {"": {}}
        if kind == "files" and self.machines():
            names = self.value(table, "machines", list, list(self.machines()), item)
            for name in names:
                self.require(name in self.machines(), f"{item}machines", "names of machines", name)
            machines = {name: self.machines_of(table, item)[name] for name in names}
        for one in kept:
            for name, machine in machines.items():
                yield replace(one, set=own_set, machine=name, options=_sorted(machine))

    def random(self, table: Table, item: str) -> list[Instance]:
        count = self.value(table, "random", int, None, item)
        self.require(count >= 1, f"{item}random", "a whole number >= 1", count)
        seed = self.value(table, "seed", int, 0, item)
        communication = table.get("communication", 1.0)
        good = isinstance(communication, (int, float)) and communication >= 0
        self.require(good, f"{item}communication", "a number >= 0", communication)
        found = []
        for topology, nodes, own_seed in random_parameters(count, seed):
            source = (topology, nodes, own_seed, float(communication))
            name = f"{topology}-n{nodes}-s{own_seed}"
            found.append(Instance("", name, "", "random", source, _digest(repr(source))))
        return found

    def families(self, table: Table, item: str) -> list[Instance]:
        seed = self.value(table, "seed", int, 1, item)
        sizes = self.numbers(table, item, "nodes", None)
        per_stage = self.value(table, "nodes_per_stage", int, 0, item)
        found = []
        for family in self.value(table, "families", list, None, item):
            known = f"some of {', '.join(FAMILIES)}"
            self.require(family in FAMILIES, f"{item}families", known, family)
            for nodes in sizes:
                source = (family, nodes, seed)
                stages = (max(2, nodes // per_stage),) if per_stage > 0 else ()
                name, digest = f"{family}-{nodes}", _digest(repr(source))
                found.append(Instance("", name, "", "family", source, digest, stages=stages))
        return found

    def files(self, table: Table, item: str) -> list[Instance]:
        kept = self.value(table, "constraints", bool, True, item)
        optima = self.optima(table, item, kept=kept)
        found: list[Instance] = []
        for pattern in self.value(table, "files", list, None, item):
            self.require(isinstance(pattern, str), f"{item}files", "texts", pattern)
            whole = Path(self.path.parent, pattern)
            paths = sorted(Path(whole.anchor or ".").glob(str(whole.relative_to(whole.anchor))))
            self.require(bool(paths), f"{item}files", "a pattern that some file matches", pattern)
            for path in paths:
                source = (str(path.resolve()), kept)
                if path.name.endswith(SUFFIX):
                    for line in lines_of_pack(path.resolve()).values():
                        name, digest = name_of_line(line)
                        found.append(Instance("", name, "", "pack", source, digest))
                else:
                    name, digest = path.name.partition(".graph.json")[0], _digest(path.read_bytes())
                    own = optima.get(name, ())
                    one = Instance("", name, "", "file", source, digest, published=own)
                    found.append(replace(one, stages=tuple(k for k, _ in own)))
        return found

    def optima(
        self, table: Table, item: str, *, kept: bool
    ) -> dict[str, tuple[tuple[int, int], ...]]:
        """Return the published optima by the name of the graph, with or without its groups, picoseconds."""
        if "published" not in table:
            return {}
        path = Path(self.path.parent, self.value(table, "published", str, None, item))
        found = {}
        try:
            for name, entry in json.loads(path.read_text(encoding="utf-8")).items():
                free = entry.get("optimum_without_groups_ms", {})
                optima = {entry["k"]: entry["optimum_with_groups_ms"]} if kept else free
                if optima:
                    found[name] = tuple((int(k), round(float(v) * 1e9)) for k, v in optima.items())
        except OSError as error:
            raise self.fault(f"{item}published", "a readable file", error.strerror or "") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            expected = "JSON: k, optimum_with_groups_ms, optimum_without_groups_ms by name"
            raise self.fault(f"{item}published", expected, repr(error)) from None
        return found

    def pattern(self, table: Table, item: str) -> re.Pattern[str]:
        text = self.value(table, "only", str, "", item)
        try:
            return re.compile(text)
        except re.error as error:
            raise self.fault(f"{item}only", "a regular expression", str(error)) from None

    def limits(self, table: Table, item: str, key: str, default: list[float]) -> tuple[float, ...]:
        values = self.value(table, key, list, default, item)
        for limit in values:
            good = isinstance(limit, (int, float)) and not isinstance(limit, bool) and limit > 0
            self.require(good, f"{item}{key}", "numbers of seconds > 0", limit)
        self.require(bool(values) or not default, f"{item}{key}", "at least one", "none")
        return tuple(map(float, values))

    def numbers(
        self, table: Table, item: str, key: str, default: list[int] | None, least: int = 1
    ) -> tuple[int, ...]:
        values = self.value(table, key, list, default, item)
        good = bool(values) and all(type(v) is int and v >= least for v in values)
        self.require(good, f"{item}{key}", f"whole numbers >= {least}", values)
        return tuple(values)

    def value(self, data: Table, key: str, kind: type, default: Any, item: str) -> Any:
        found = data.get(key, default)
        good = isinstance(found, kind) and not (kind is int and isinstance(found, bool))
        words = {list: "a list", dict: "a table", str: "a text", int: "a whole number", bool: "true or false"}  # fmt: skip
        self.require(good, f"{item}{key}", words[kind], "nothing" if found is None else found)
        return found

    def refuse_others(self, data: Table, known: frozenset[str], item: str) -> None:
        for key in data:
            self.require(key in known, f"{item}{key}", f"a key of {', '.join(sorted(known))}", key)

    def require(self, good: bool, item: str, expected: str, got: Any) -> None:
        if not good:
            raise self.fault(item, expected, got if isinstance(got, str) else repr(got))

    def fault(self, item: str, expected: str, got: str) -> InputError:
        return InputError(f"{self.path}: {item}", expected, got)


def _sorted(machine: Table) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(machine.items()))


def _digest(content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:32]
