# SPDX-License-Identifier: Apache-2.0
"""A plan's graph as an outline: stages that hold modules that hold nodes.

The page draws a graph of any size by showing the closed parts of this outline only.  A part that would
hold too many others at once holds runs of them instead, in the order in which they are executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt

from ..shaping.granularity import module_path

__all__ = ["MOST_CHILDREN", "Outline", "outline"]

MOST_CHILDREN = 32
"""More than these at one level are more than one can look over."""
_DEEPEST = 64
"""Modules in modules in modules: no model has so many, but a file may say so."""


@dataclass(frozen=True)
class Outline:
    """Parts and nodes in a tree.

    Attributes
    ----------
    labels, parents
        Of each part: what it is called, and the part that holds it (-1 for stages, which come first, and
        their backward passes behind them).
    node_labels, node_parents
        Of each node: the last part of its name, and the part that holds it.
    """

    labels: list[str]
    parents: list[int]
    node_labels: list[str]
    node_parents: list[int]


@dataclass
class _Part:
    label: str
    parts: dict[str, _Part] = field(default_factory=dict)
    children: list[_Part | int] = field(default_factory=list)


def outline(
    names: Sequence[str], stages: Sequence[Sequence[int]], backward: Sequence[bool] = ()
) -> Outline:
    """Return the outline of the nodes of all stages; every node is in exactly one of them.

    With a backward pass a stage has two parts, for its nodes run forward along the pipeline and backward against it.

    Parameters
    ----------
    names
        Of every node.
    stages
        Nodes of each stage in the order in which they run.
    backward
        Whether each node belongs to the backward pass; empty for inference.
    """
    paths = [_path(name) for name in names]
    tails = [_tail(name) for name in names]
    result = Outline([], [], tails, [-1] * len(names))
    roots = []
    for label, nodes in _roots(stages, backward):
        root = _Part(label)
        for node in nodes:
            part = root
            for step in paths[node]:
                if step not in part.parts:
                    part.parts[step] = _Part(step)
                    part.children.append(part.parts[step])
                part = part.parts[step]
            part.children.append(node)
        # What all nodes of a stage share says nothing within it.
        while len(root.children) == 1 and isinstance(root.children[0], _Part):
            root.children = root.children[0].children
        roots.append(_short(root, tails))
    result.labels.extend(root.label for root in roots)
    result.parents.extend([-1] * len(roots))
    for number, root in enumerate(roots):
        _number(root, number, result)
    return result


def _roots(
    stages: Sequence[Sequence[int]], backward: Sequence[bool]
) -> list[tuple[str, Sequence[int]]]:
    """Return the outermost parts: the first ones are the stages in their order."""
    if not any(backward):
        return [(f"Stage {number}", nodes) for number, nodes in enumerate(stages)]
    first: list[tuple[str, Sequence[int]]] = []
    behind: list[tuple[str, Sequence[int]]] = []
    for number, nodes in enumerate(stages):
        passes = {back: [v for v in nodes if bool(backward[v]) == back] for back in (False, True)}
        forward = bool(passes[False])
        label = f"Stage {number}, {'forward' if forward else 'backward'}"
        first.append((label, passes[not forward]))
        if forward and passes[True]:
            behind.append((f"Stage {number}, backward", passes[True]))
    return first + behind[::-1]


def _path(name: str) -> list[str]:
    """Return the modules of a node; a number belongs to the list that it counts in (``layers.0``)."""
    steps: list[str] = []
    for step in module_path(name)[:_DEEPEST]:
        if steps and step.isdigit():
            steps[-1] += f".{step}"
        else:
            steps.append(step)
    return steps


def _tail(name: str) -> str:
    """Return what a node is called within its module."""
    if not module_path(name):
        return name
    scope, slash, operator = name.rpartition("/")
    if not slash:
        scope, _, operator = name.rpartition(".")
    return operator if scope else name


def _short(part: _Part, tails: Sequence[str]) -> _Part:
    """Join parts that hold nothing but one part, and divide long rows into runs."""
    children: list[_Part | int] = []
    for child in part.children:
        if isinstance(child, int):
            children.append(child)
            continue
        inner = child
        while len(inner.children) == 1:
            only = inner.children[0]
            if isinstance(only, int):
                break
            inner = _Part(f"{inner.label}.{only.label}", children=only.children)
        # A part of one node would be a box around it.
        children += inner.children if len(inner.children) == 1 else [_short(inner, tails)]
    while len(children) > MOST_CHILDREN:
        size = max(2, min(MOST_CHILDREN, ceil(sqrt(len(children)))))
        children = [_run(children[i : i + size], tails) for i in range(0, len(children), size)]
    return _Part(part.label, children=children)


def _run(children: list[_Part | int], tails: Sequence[str]) -> _Part | int:
    first, last = (_name(child, tails) for child in (children[0], children[-1]))
    if len(children) == 1:
        return children[0]
    return _Part(f"{first.split(' … ')[0]} … {last.split(' … ')[-1]}", children=children)


def _name(child: _Part | int, tails: Sequence[str]) -> str:
    return tails[child] if isinstance(child, int) else child.label


def _number(part: _Part, number: int, result: Outline) -> None:
    for child in part.children:
        if isinstance(child, int):
            result.node_parents[child] = number
            continue
        result.labels.append(child.label)
        result.parents.append(number)
        _number(child, len(result.labels) - 1, result)
