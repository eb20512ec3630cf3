# SPDX-License-Identifier: Apache-2.0
"""Grids: which instances are run with which methods, seeds and limits; grid_file.py reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .methods import has_seed

__all__ = ["Grid", "Instance", "Job", "Part"]


@dataclass(frozen=True)
class Instance:
    """One graph on one machine, before it is read.

    Attributes
    ----------
    set, name, machine
        What the tables call it.
    kind
        ``pack``, ``file``, ``random`` or ``family``.
    source
        The file's path and whether its groups and pins hold; the topology, nodes, seed and communication of a
        random DAG; the family and nodes of a synthetic model.
    digest
        Of the content of the source.
    options
        Of the machine, sorted.
    stages
        Numbers of stages of its own instead of the part's.
    published
        Pairs of a number of stages and the optimum that somebody published, picoseconds.
    """

    set: str
    name: str
    machine: str
    kind: str
    source: tuple[Any, ...]
    digest: str
    options: tuple[tuple[str, Any], ...] = ()
    stages: tuple[int, ...] = ()
    published: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Job:
    """One run: an instance, and how it is solved.

    Attributes
    ----------
    planned_on
        Name and options of the machine that the plan is made for where it is not the instance's own.
    opens
        The limit of the shorter run after which this one is made only if a gap is left; 0 for none.
    """

    instance: Instance
    stages: int
    method: str
    seed: int
    time_limit: float
    threads: int
    planned_on: tuple[str, tuple[tuple[str, Any], ...]] | None = None
    opens: float = 0.0

    @property
    def key(self) -> dict[str, Any]:
        """What tells this run from others, in the columns of the results."""
        options = repr(dict(self.instance.options))
        if self.planned_on:
            options += f" planned on {dict(self.planned_on[1])!r}"
        return {
            "set": self.instance.set,
            "instance": self.instance.name,
            "machine": self.instance.machine,
            "source_digest": self.instance.digest,
            "machine_options": options,
            "k": self.stages,
            "method": self.method,
            "seed": self.seed,
            "time_limit": self.time_limit,
            "threads": self.threads,
        }

    @property
    def shorter(self) -> dict[str, Any] | None:
        """The key of the run that has to leave a gap first."""
        return {**self.key, "time_limit": self.opens} if self.opens else None


@dataclass(frozen=True)
class Part:
    """Instances that are run alike.

    Attributes
    ----------
    open_limits
        Seconds of further runs, each made only where the one before left a gap.
    """

    stages: tuple[int, ...]
    methods: tuple[str, ...] = ("plan",)
    seeds: tuple[int, ...] = (0,)
    limits: tuple[float, ...] = (5.0,)
    open_limits: tuple[float, ...] = ()
    threads: int = 1
    instances: tuple[Instance, ...] = field(default=(), repr=False)
    machines: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()

    def jobs(self) -> Iterator[Job]:
        """Yield all runs, those of one instance one after the other, then the longer ones of what may stay open."""
        for limit in self.limits:
            yield from self._with_limit(self.methods, limit)
        before = max(self.limits)
        for limit in self.open_limits:
            yield from self._with_limit([m for m in self.methods if m == "plan"], limit, before)
            before = limit

    def _with_limit(
        self, methods: Sequence[str], limit: float, opens: float = 0.0
    ) -> Iterator[Job]:
        for instance in self.instances:
            for k in instance.stages or self.stages:
                for method in methods:
                    if method == "published" and k not in dict(instance.published):
                        continue
                    _, _, other = method.partition("@")
                    planned_on = (other, dict(self.machines)[other]) if other else None
                    # Most bounds know no chance; the others get every seed.
                    for seed in self.seeds if has_seed(method) else self.seeds[:1]:
                        yield Job(instance, k, method, seed, limit, self.threads, planned_on, opens)


@dataclass(frozen=True)
class Grid:
    """What is to be run, the most wanted part first."""

    parts: tuple[Part, ...]

    @classmethod
    def load(cls, path: str | Path) -> Grid:
        """Read a grid; see grid_file.py.

        Raises
        ------
        InputError
            If the file cannot be read, a key is unknown, a value is of the wrong kind, or no instance is left.
        """
        from .grid_file import read_grid

        return cls(read_grid(Path(path)))

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances of all parts, each once."""
        return tuple(
            dict.fromkeys(replace(i, stages=()) for part in self.parts for i in part.instances)
        )

    @property
    def threads(self) -> int:
        """The most threads of a run."""
        return max(part.threads for part in self.parts)

    def jobs(self) -> Iterator[Job]:
        """Yield all runs, part by part; what several parts want is yielded once."""
        seen: set[tuple[Any, ...]] = set()
        for part in self.parts:
            for job in part.jobs():
                key = tuple(job.key.values())
                if key not in seen:
                    seen.add(key)
                    yield job
