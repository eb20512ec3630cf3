# SPDX-License-Identifier: Apache-2.0
"""The door of plan files: ``stagewright-plan/1`` (docs/plan_file.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol

from .. import __version__
from ..allocation import many_objects
from ..bound.types import Bound
from ..errors import CheckError, InputError
from ..files import write_whole
from ..graph import CostGraph
from ..machine import Machine
from ..plans import Plan, StageCost, evaluate_all, problems_of
from ..units import seconds_from_ps

__all__ = [
    "FORMAT",
    "bound_entry",
    "dumps",
    "gap_of",
    "history_entries",
    "load_plan",
    "operator_level",
    "plan_document",
    "plan_of",
    "read_document",
    "rounded",
    "save",
    "stage_entry",
]

FORMAT: Final = "stagewright-plan/1"
_MOST_POINTS: Final = 200
_BROKEN_DEPTH: Final = 3
"""Objects and lists of objects above this depth take one line per entry."""


class Point(Protocol):
    """A point of a search's history: seconds since its start, what was done, both bounds in ps."""

    @property
    def seconds(self) -> float: ...
    @property
    def phase(self) -> str: ...
    @property
    def upper(self) -> int: ...
    @property
    def lower(self) -> int: ...


@many_objects()
def plan_document(
    graph: CostGraph,
    machine: Machine,
    plan: Plan,
    bounds: Sequence[Bound],
    *,
    stopped_because: str,
    seconds: float,
    seed: int,
) -> dict[str, Any]:
    """Return the plan file's content; times are exact decimals of seconds.

    Parameters
    ----------
    bounds
        Every lower bound that was found; the largest is the file's.
    stopped_because
        Why the search ended, in words.
    seconds
        How long it took.
    seed
        What its random choices started from.

    Raises
    ------
    InputError
        If the plan is not valid, or a bound exceeds its bottleneck (one of them is wrong).
    """
    problems = problems_of(graph, machine, plan)
    if problems:
        raise InputError("plan", "a valid plan", problems[0])
    costs = evaluate_all(graph, machine, plan)
    upper = max(cost.total for cost in costs)
    lower = max((int(bound.value) for bound in bounds), default=0)
    if lower > upper:
        raise InputError("bounds", f"none above the bottleneck, {upper} ps", f"{lower} ps")
    return {
        "format": FORMAT,
        "graph_sha256": graph.sha256,
        "machine": machine.to_json(),
        "bottleneck": seconds_from_ps(upper),
        "lower_bound": seconds_from_ps(lower),
        "gap": gap_of(upper, lower),
        "status": "optimal" if lower == upper else "bounded" if lower else "feasible",
        "stages": [
            stage_entry(graph, nodes, cost) for nodes, cost in zip(plan.stages, costs, strict=True)
        ],
        "bounds": [bound_entry(bound) for bound in bounds if not _is_empty(bound)],
        "stopped_because": stopped_because,
        "seconds": rounded(seconds),
        "seed": seed,
        "version": __version__,
    }


def operator_level(coarse: int, upper: int, lower: int) -> dict[str, Any]:
    """Return what a plan file says of the plan that may cut between any two operators.

    `loss` is what the coarser plan's bottleneck exceeds the finer one's by, `loss_at_most` what it
    exceeds its lower bound by; both are fractions, and equal where the finer plan is optimal.

    Parameters
    ----------
    coarse, upper, lower
        Bottleneck of the plan of the file, and both bounds of the finer one, picoseconds.
    """
    # A plan of layers is a plan of operators.
    upper = min(upper, coarse)
    return {
        "bottleneck": seconds_from_ps(upper),
        "lower_bound": seconds_from_ps(lower),
        "loss": gap_of(coarse, upper),
        "loss_at_most": gap_of(coarse, lower),
    }


def history_entries(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return when the bounds got better, in seconds; every so many-th point where there are too many."""
    kept = [
        p
        for i, p in enumerate(points)
        if i == 0 or (p.upper, p.lower) != (points[i - 1].upper, points[i - 1].lower)
    ]
    step = -(-len(kept) // _MOST_POINTS) or 1
    kept = kept[::-1][::step][::-1]  # the last one stays
    return [
        {
            "seconds": rounded(p.seconds),
            "phase": p.phase,
            "upper": seconds_from_ps(p.upper),
            "lower": seconds_from_ps(p.lower),
        }
        for p in kept
    ]


def gap_of(upper: int, lower: int) -> float | None:
    """Return upper / lower - 1; None where only the upper bound is above 0."""
    if upper == lower:
        return 0.0
    return float(Fraction(upper, lower) - 1) if lower else None


def stage_entry(graph: CostGraph, nodes: Sequence[int], cost: StageCost) -> dict[str, Any]:
    """Return what a plan file says of a stage."""
    return {
        "nodes": [graph.node_names[v] for v in nodes],
        "work": seconds_from_ps(cost.work),
        "io_in": seconds_from_ps(cost.io_in),
        "io_out": seconds_from_ps(cost.io_out),
        "overflow": seconds_from_ps(cost.overflow),
        "total": seconds_from_ps(cost.total),
        "param_bytes": cost.param_bytes,
        "peak_bytes": cost.peak_bytes,
    }


def bound_entry(bound: Bound) -> dict[str, Any]:
    """Return what a plan file says of a lower bound."""
    entry: dict[str, Any] = {
        "method": bound.method,
        "value": seconds_from_ps(bound.value),
        "seconds": rounded(bound.seconds),
        "evidence": bound.evidence,
    }
    return entry if bound.witness is None else entry | {"witness": bound.witness}


def _is_empty(bound: Bound) -> bool:
    """Whether a bound by flows found nothing worth a flow: it is 0 and has no witness."""
    return bound.evidence == "flow" and not bound.value and bound.witness is None


def rounded(seconds: float) -> Decimal:
    """Return a measured time to the microsecond; more digits would be noise."""
    return Decimal(f"{max(0.0, seconds):.6f}")


def dumps(document: Mapping[str, Any]) -> str:
    """Return the JSON text of a plan document: decimals exact and without exponents.

    Lists of plain values, and everything inside a witness, stand on one line.
    """
    return "".join(_pieces(document, 0)) + "\n"


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """Yield the text of a value that stands `depth` levels deep."""
    if isinstance(value, Mapping):
        entries = [(f"{json.dumps(key)}: ", item) for key, item in value.items()]
        brackets, broken = "{}", depth < _BROKEN_DEPTH
    elif isinstance(value, (list, tuple)):
        entries = [("", item) for item in value]
        brackets = "[]"
        broken = depth < _BROKEN_DEPTH and any(isinstance(item, Mapping) for item in value)
    else:
        yield _scalar(value)
        return
    inside, outside = ("\n" + " " * (depth + 1), "\n" + " " * depth) if broken else ("", "")
    yield brackets[0]
    for i, (label, item) in enumerate(entries):
        yield ("" if i == 0 else "," if broken else ", ") + inside + label
        yield from _pieces(item, depth + 1)
    yield (outside if entries else "") + brackets[1]


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        value = Decimal(repr(value))
    if not isinstance(value, Decimal):
        return json.dumps(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def save(document: Mapping[str, Any], path: str | Path) -> None:
    """Write a plan file.  It appears whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    write_whole(path, dumps(document))


def read_document(path: str | Path) -> dict[str, Any]:
    """Return the content of a plan file, decimals exact; nothing that it states is verified.

    Raises
    ------
    CheckError
        If the file is no plan file.
    """
    try:
        document = json.loads(Path(path).read_bytes(), parse_float=Decimal)
    except OSError as error:
        raise CheckError(str(path), "a readable file", error.strerror or str(error)) from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise CheckError(str(path), "JSON", f"a fault ({error})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        got = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise CheckError(f"{path}: format", f"'{FORMAT}'", repr(got))
    return document


def plan_of(document: Mapping[str, Any], graph: CostGraph, item: str) -> Plan:
    """Return the plan of a document as nodes of `graph`, whatever the graph costs.

    `item` names the document in messages.

    Raises
    ------
    CheckError
        If the document does not list stages of nodes of the graph.
    """
    stages = document.get("stages")
    if not isinstance(stages, list):
        raise CheckError(f"{item}: stages", "a list", type(stages).__name__)
    return Plan(tuple(_nodes(item, i, row, graph) for i, row in enumerate(stages)))


def load_plan(path: str | Path, graph: CostGraph) -> tuple[Plan, dict[str, Any]]:
    """Read a plan file made for `graph`: the plan and the whole document, decimals exact.

    Nothing that the document states is verified; that is the checker's work.

    Raises
    ------
    CheckError
        If the file is no plan file, or its plan is for another graph.
    """
    document = read_document(path)
    if document.get("graph_sha256") != graph.sha256:
        raise CheckError(
            f"{path}: graph_sha256",
            f"'{graph.sha256}', the hash of graph '{graph.name}'",
            repr(document.get("graph_sha256")),
            "The plan was made for another graph, or with another device; give that one.",
        )
    return plan_of(document, graph, str(path)), document


def _nodes(item: str, number: int, stage: Any, graph: CostGraph) -> tuple[int, ...]:
    names = stage.get("nodes") if isinstance(stage, dict) else None
    if not isinstance(names, list):
        raise CheckError(f"{item}: stages[{number}].nodes", "a list of names", "none")
    for name in names:
        if not isinstance(name, str) or name not in graph.index_of:
            raise CheckError(
                f"{item}: stages[{number}].nodes",
                f"nodes of graph '{graph.name}'",
                repr(name),
                "The plan was made for another model: give the one that its source.model names.",
            )
    return tuple(graph.index_of[name] for name in names)
