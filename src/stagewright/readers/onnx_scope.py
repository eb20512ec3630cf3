# SPDX-License-Identifier: Apache-2.0
"""What the walk over a model carries: scopes of names, costs of nodes, notes on estimates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import ModelError
from .onnx_types import Value

__all__ = ["Misfit", "Notes", "Scope", "Step"]


class Misfit(ModelError):  # noqa: N818  # to its reader it is a ModelError
    """The inputs of a node do not fit its operator; in a branch that may never run, no fault."""


@dataclass(slots=True)
class Notes:
    """What had to be estimated; the reader puts it into one warning."""

    unknown: Counter[str] = field(default_factory=Counter)
    loops: Counter[str] = field(default_factory=Counter)
    bounded: Counter[str] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    sizeless: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Step:
    """What one node, or a whole body, costs and reads."""

    outputs: Sequence[Value] = ()
    folded: bool = False
    flops: int = 0
    nbytes: int = 0
    reads: dict[str, int] = field(default_factory=dict)
    kind: str = ""

    def add(self, other: Step, times: int = 1) -> None:
        """Add the cost of a part that runs `times` times."""
        self.flops += times * other.flops
        self.nbytes += times * other.nbytes
        self.reads |= other.reads


@dataclass(slots=True)
class Scope:
    """Names and their values in a graph, a body (which sees its parent's too) or a function."""

    item: str
    opsets: Mapping[str, int]
    parent: Scope | None = None
    prefix: str = ""
    depth: int = 0
    values: dict[str, Value | None] = field(default_factory=dict)
    declared: dict[str, Value] = field(default_factory=dict)

    def find(self, name: str, item: str) -> Value | None:
        """Return the value of a name; None for an optional input a function was not given."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        raise ModelError(
            f"{item}: input '{name}'",
            "the output of an earlier node, an input or an initialiser",
            "an unknown name",
            "Sort the nodes topologically, or repair the model.",
        )
