# SPDX-License-Identifier: Apache-2.0
"""Grids: what is to be run, read from a TOML file.

stages = [2, 4, 8]
methods = ["plan", "simple", "anchor", "brkga-100"]
limits = [5.0]                     # seconds of each run; seeds = [0] and threads = 1 unless given

[machines.fast]                    # as the options of `stagewright plan`, and fuse = false
device = "h100-sxm"

[[instances]]
set = "testbed"                    # a name in the tables
files = ["graphs/*.jsonl.xz"]      # packs, models, graph files; relative to the grid
only = "vision/"                   # a regular expression of names; machines = ["fast"], first = 100 too

[[instances]]
set = "synthetic"
random = 1000                      # random DAGs, whose costs are times; seed = 0, communication = 1.0
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..ladder import BOUND_METHODS
from ..search.genetic import PRESETS
from .packs import SUFFIX, lines_of_pack, name_of_line
from .random_dags import random_parameters

__all__ = ["METHODS", "Grid", "Instance", "Job"]

METHODS = ("plan", *BOUND_METHODS, *PRESETS)
"""The whole method, the lower bounds of the ladder, the searches of the paper over the graph as it is."""

_MACHINE = frozenset(
    ("device", "link", "bandwidth", "latency", "memory", "memory_limit", "count_graph_io", "fuse")
)


@dataclass(frozen=True)
class Instance:
    """One graph on one machine, before it is read.

    Attributes
    ----------
    set, name, machine
        What the tables call it.
    kind
        ``pack``, ``file`` or ``random``.
    source
        The file's path, or the topology, nodes, seed and communication of a random DAG.
    digest
        Of the content of the source.
    options
        Of the machine, sorted.
    """

    set: str
    name: str
    machine: str
    kind: str
    source: tuple[Any, ...]
    digest: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Job:
    """One run: an instance, and how it is solved."""

    instance: Instance
    stages: int
    method: str
    seed: int
    time_limit: float
    threads: int

    @property
    def key(self) -> dict[str, Any]:
        """What tells this run from others, in the columns of the results."""
        return {
            "set": self.instance.set,
            "instance": self.instance.name,
            "machine": self.instance.machine,
            "source_digest": self.instance.digest,
            "machine_options": repr(dict(self.instance.options)),
            "k": self.stages,
            "method": self.method,
            "seed": self.seed,
            "time_limit": self.time_limit,
            "threads": self.threads,
        }


@dataclass(frozen=True)
class Grid:
    """Every instance with every number of stages, method, seed and limit."""

    stages: tuple[int, ...]
    methods: tuple[str, ...] = ("plan",)
    seeds: tuple[int, ...] = (0,)
    limits: tuple[float, ...] = (5.0,)
    threads: int = 1
    instances: tuple[Instance, ...] = field(default=(), repr=False)

    @classmethod
    def load(cls, path: str | Path) -> Grid:
        """Read a grid; see the top of this module.

        Raises
        ------
        InputError
            If the file cannot be read, a key is unknown, a value is of the wrong kind, or no instance is left.
        """
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(str(path), "a readable grid", error.strerror or str(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(str(path), "TOML", str(error)) from None
        return _Reader(path).grid(data)

    def jobs(self) -> Iterator[Job]:
        """Yield all runs, those of one instance one after the other."""
        for instance in self.instances:
            for k in self.stages:
                for method in self.methods:
                    # Most bounds know no chance; the others get every seed.
                    for seed in self.seeds if _has_seed(method) else self.seeds[:1]:
                        for limit in self.limits:
                            yield Job(instance, k, method, seed, limit, self.threads)


def _has_seed(method: str) -> bool:
    return method in ("plan", "exact", "cover", "skeleton", *PRESETS)


@dataclass(frozen=True)
class _Reader:
    path: Path

    def grid(self, data: Mapping[str, Any]) -> Grid:
        known = {"stages", "methods", "seeds", "limits", "threads", "machines", "instances"}
        self.refuse_others(data, known, "")
        machines = self.value(data, "machines", dict, {}, "")
        for name, machine in machines.items():
            self.require(isinstance(machine, dict), f"machines.{name}", "a table", machine)
            self.refuse_others(machine, _MACHINE, f"machines.{name}.")
        stages = self.numbers(data, "stages", None)
        limits = self.value(data, "limits", list, [5.0], "")
        for limit in limits:
            good = isinstance(limit, (int, float)) and not isinstance(limit, bool) and limit > 0
            self.require(good, "limits", "numbers of seconds > 0", limit)
        methods = self.value(data, "methods", list, ["plan"], "")
        for method in methods:
            self.require(method in METHODS, "methods", f"some of {', '.join(METHODS)}", method)
        threads = self.value(data, "threads", int, 1, "")
        self.require(threads >= 1, "threads", "a whole number >= 1", threads)
        tables = self.value(data, "instances", list, None, "")
        found: dict[tuple[str, str, str], Instance] = {}
        for number, part in enumerate(tables):
            item = f"instances[{number}]"
            self.require(isinstance(part, dict), item, "a table", part)
            for instance in self.instances(part, f"{item}.", machines):
                name = (instance.set, instance.name, instance.machine)
                self.require(name not in found, item, "names that differ", "/".join(name))
                found[name] = instance
        self.require(bool(found), "instances", "at least one", "none")
        return Grid(
            stages=stages,
            methods=tuple(methods),
            seeds=self.numbers(data, "seeds", [0], least=0),
            limits=tuple(map(float, limits)),
            threads=threads,
            instances=tuple(found.values()),
        )

    def instances(
        self, part: Mapping[str, Any], item: str, machines: Mapping[str, Any]
    ) -> Iterator[Instance]:
        known = {"set", "files", "random", "seed", "communication", "only", "first", "machines"}
        self.refuse_others(part, known, item)
        own_set = self.value(part, "set", str, None, item)
        only = self.pattern(part, item)
        first = self.value(part, "first", int, 10**9, item)
        both = ("files" in part) + ("random" in part)
        self.require(both == 1, item.rstrip("."), "either files or random", f"{both} of them")
        if "random" in part:
            sources = self.random(part, item)
            own: Mapping[str, Mapping[str, Any]] = {"": {}}
        else:
            sources = self.files(part, item)
            names = self.value(part, "machines", list, list(machines), item)
            for name in names:
                self.require(name in machines, f"{item}machines", "names of machines", name)
            own = {name: machines[name] for name in names} or {"": {}}
        kept = [s for s in sources if only.search(s[0])][:first]
        for name, kind, source, digest in kept:
            for machine, options in own.items():
                yield Instance(
                    own_set, name, machine, kind, source, digest, tuple(sorted(options.items()))
                )

    def random(
        self, part: Mapping[str, Any], item: str
    ) -> list[tuple[str, str, tuple[Any, ...], str]]:
        count = self.value(part, "random", int, None, item)
        self.require(count >= 1, f"{item}random", "a whole number >= 1", count)
        seed = self.value(part, "seed", int, 0, item)
        communication = part.get("communication", 1.0)
        good = isinstance(communication, (int, float)) and communication >= 0
        self.require(good, f"{item}communication", "a number >= 0", communication)
        found = []
        for topology, nodes, own_seed in random_parameters(count, seed):
            source = (topology, nodes, own_seed, float(communication))
            found.append(
                (f"{topology}-n{nodes}-s{own_seed}", "random", source, _digest(repr(source)))
            )
        return found

    def files(
        self, part: Mapping[str, Any], item: str
    ) -> list[tuple[str, str, tuple[Any, ...], str]]:
        found: list[tuple[str, str, tuple[Any, ...], str]] = []
        for pattern in self.value(part, "files", list, None, item):
            self.require(isinstance(pattern, str), f"{item}files", "texts", pattern)
            whole = Path(self.path.parent, pattern)
            paths = sorted(Path(whole.anchor or ".").glob(str(whole.relative_to(whole.anchor))))
            self.require(bool(paths), f"{item}files", "a pattern that some file matches", pattern)
            for path in paths:
                if path.name.endswith(SUFFIX):
                    for line in lines_of_pack(path.resolve()).values():
                        name, digest = name_of_line(line)
                        found.append((name, "pack", (str(path.resolve()),), digest))
                else:
                    digest = _digest(path.read_bytes())
                    found.append((path.name, "file", (str(path.resolve()),), digest))
        return found

    def pattern(self, part: Mapping[str, Any], item: str) -> re.Pattern[str]:
        text = self.value(part, "only", str, "", item)
        try:
            return re.compile(text)
        except re.error as error:
            raise self.fault(f"{item}only", "a regular expression", str(error)) from None

    def numbers(
        self, data: Mapping[str, Any], key: str, default: list[int] | None, least: int = 1
    ) -> tuple[int, ...]:
        values = self.value(data, key, list, default, "")
        good = bool(values) and all(type(v) is int and v >= least for v in values)
        self.require(good, key, f"whole numbers >= {least}", values)
        return tuple(values)

    def value(self, data: Mapping[str, Any], key: str, kind: type, default: Any, item: str) -> Any:
        found = data.get(key, default)
        good = isinstance(found, kind) and not (kind is int and isinstance(found, bool))
        words = {list: "a list", dict: "a table", str: "a text", int: "a whole number"}
        self.require(good, f"{item}{key}", words[kind], "nothing" if found is None else found)
        return found

    def refuse_others(self, data: Mapping[str, Any], known: Sequence[str] | Any, item: str) -> None:
        for key in data:
            self.require(key in known, f"{item}{key}", f"a key of {', '.join(sorted(known))}", key)

    def require(self, good: bool, item: str, expected: str, got: Any) -> None:
        if not good:
            raise self.fault(item, expected, got if isinstance(got, str) else repr(got))

    def fault(self, item: str, expected: str, got: str) -> InputError:
        return InputError(f"{self.path}: {item}", expected, got)


def _digest(content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:32]
