# SPDX-License-Identifier: Apache-2.0
"""StableHLO as plain data, parsed by a child process.

MLIR's parser is that of jaxlib (:mod:`._stablehlo_child`).  Damaged bytecode can crash it, so it runs in a process of its own.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MissingDependencyError, ModelError

__all__ = ["Block", "Function", "Module", "Op", "Type", "read_module"]


@dataclass(frozen=True)
class Type:
    """Shape, element type as MLIR writes it, size in bytes; tokens and tuples have none."""

    shape: tuple[int, ...]
    element: str
    nbytes: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass
class Op:
    """An operation: values are numbers, unique in the module."""

    name: str
    operands: list[int]
    results: list[int]
    regions: list[Block]
    scope: str
    callee: str = ""
    integer: int | None = None
    splat: bool = False
    lists: dict[str, list[int]] = field(default_factory=dict)
    direction: str = ""
    groups: int = 1


@dataclass
class Block:
    """The single block of a region or function: arguments, operations, what it returns."""

    arguments: list[int]
    ops: list[Op]
    returns: list[int]


@dataclass
class Function:
    """A function; names of arguments are empty where the file has none."""

    block: Block
    argument_names: list[str]


@dataclass
class Module:
    """All functions, and the type of every value."""

    name: str
    functions: dict[str, Function]
    types: list[Type]


def read_module(path: Path) -> Module:
    """Parse a file.

    Raises
    ------
    MissingDependencyError
        If jaxlib is not installed.
    ModelError
        If the file is no StableHLO, or a tensor has no fixed shape.
    """
    command = [sys.executable, "-m", f"{__package__}._stablehlo_child", str(path.resolve())]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0 or not done.stdout:
        fault = f"a file that MLIR's parser fails on (exit code {done.returncode})"
        raise ModelError(str(path), "a StableHLO module", fault)
    found = json.loads(done.stdout)
    if found["kind"] == "missing":
        raise MissingDependencyError("jaxlib", "jax", "Reading StableHLO")
    if found["kind"] == "fault":
        where, *words = found["fault"]
        raise ModelError(f"{path}: {where}" if where else str(path), *words)
    functions = {
        name: Function(_block(entry["block"]), entry["argument_names"])
        for name, entry in found["functions"].items()
    }
    types = [Type(tuple(shape), element, nbytes) for shape, element, nbytes in found["types"]]
    return Module(found["name"], functions, types)


def _block(entry: Any) -> Block:
    ops = [Op(**op | {"regions": [_block(r) for r in op["regions"]]}) for op in entry["ops"]]
    return Block(entry["arguments"], ops, entry["returns"])
