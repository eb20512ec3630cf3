# SPDX-License-Identifier: Apache-2.0
"""Where a framework can cut: between modules or layers instead of between any two operators.

Names tell.  A name is a path of modules and the operator at its end, in either of the forms

    /model/layers.0/self_attn/MatMul          model.layers.0.self_attn.q_proj/linear
    bert/encoder/layer_0/attention/MatMul     features.3.conv.Conv

and its parts are what stands between slashes and points.  A node without modules in its name (and
one whose only module holds every node) is a unit of its own at every level.

module      Nodes of one innermost module (one that holds no other) share a stage.  What a module
            that holds others does itself, such as a residual addition, stays a unit of its own.
layer       Nodes of one repeated block share a stage: the path up to its first numbered part,
            ``model.layers.0``, ``h.3``, ``layer_7``.  Where that is a stage of blocks (``layer1.0``,
            ``stages.2.blocks.1``, ``denseblock1.denselayer4``), the block.  Nodes outside of such
            blocks are taken by module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, get_args

from ..errors import InputError
from ..graph import CostGraph
from .groups import NamedSet

__all__ = ["LEVELS", "Granularity", "block_of", "module_path", "units_of"]

Granularity = Literal["op", "module", "layer"]
LEVELS: Final[tuple[Granularity, ...]] = get_args(Granularity)

_LISTS: Final = r"(?:layer|block|stage|cell|group|unit|resblock)s?"
_NUMBERED: Final = re.compile(rf"(?:[A-Za-z_]*{_LISTS}|h)[_-]?\d+", re.ASCII)
"""A part that carries its own number: ``layer_0``, ``denseblock1``."""
_LIST_NAME: Final = re.compile(rf"[A-Za-z_]*{_LISTS}", re.ASCII)
_STAGES: Final = re.compile(r"stages?|layers")
"""Lists whose items may be stages that hold blocks."""

Path = tuple[str, ...]


def module_path(name: str) -> Path:
    """Return the modules that a node's name gives, outermost first; empty where it gives none.

    An operator has a letter in its name: ``p2o.Conv.7`` counts operators and names no module.
    """
    scope, slash, operator = name.rpartition("/")
    if not slash:
        scope, _, operator = name.rpartition(".")
    if not any(c.isalpha() for c in operator):
        return ()
    return tuple(part for part in re.split(r"[/.]", scope) if part)


def units_of(graph: CostGraph, level: Granularity) -> list[NamedSet]:
    """Return the sets of nodes between which no cut may fall; single nodes are left out.

    Raises
    ------
    InputError
        If the names say nothing of modules, so that every node would be a unit of its own.
    """
    if level == "op":
        return []
    paths = [module_path(name) for name in graph.node_names]
    shared = _common(paths)
    inner = {path[:depth] for path in set(paths) for depth in range(len(path))}
    units: dict[Path, list[int]] = {}
    for v, path in enumerate(paths):
        unit = block_of(path) if level == "layer" else ()
        if not unit and path not in inner and len(path) > len(shared):
            unit = path
        if unit:
            units.setdefault(unit, []).append(v)
    if not units:
        raise InputError(
            f"granularity '{level}'",
            "names with modules in them, such as model.layers.0.mlp/linear",
            f"names like '{graph.node_names[0]}'",
            "Use --granularity op, or say with --together what must not be cut.",
        )
    return [(f"{level} {'.'.join(unit)}", nodes) for unit, nodes in units.items() if len(nodes) > 1]


def _common(paths: Sequence[Path]) -> Path:
    """Return the modules that every node is in."""
    low, high = min(paths), max(paths)
    same = 0
    while same < min(len(low), len(high)) and low[same] == high[same]:
        same += 1
    return low[:same]


def block_of(path: Path) -> Path:
    """Return the path of the repeated block that a module lies in; empty where in none."""
    end = next((i + 1 for i, part in enumerate(path) if _is_number(part)), 0)
    if not end or (end == 1 and path[0].isdigit()):
        return path[:end]
    stages = not path[end - 1].isdigit() or _STAGES.fullmatch(path[end - 2])
    rest = path[end:]
    if stages and rest:
        if _is_number(rest[0]):
            return path[: end + 1]
        if len(rest) > 1 and rest[1].isdigit() and _LIST_NAME.fullmatch(rest[0]):
            return path[: end + 2]
    return path[:end]


def _is_number(part: str) -> bool:
    return part.isdigit() or _NUMBERED.fullmatch(part) is not None
