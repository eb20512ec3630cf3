# SPDX-License-Identifier: Apache-2.0
"""What a search can start from: a plan, and bounds known for more stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .certificate.build import plan_of, read_document
from .plans import Plan

if TYPE_CHECKING:
    from .bound.types import Bound
    from .graph import CostGraph
    from .machine import Machine

__all__ = ["bounds_that_hold", "plan_to_start_from"]


class Known(Protocol):
    """A graph and a machine whose bounds are known."""

    @property
    def graph(self) -> CostGraph:
        """What was planned."""

    @property
    def machine(self) -> Machine:
        """For what."""

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The lower bounds."""


def plan_to_start_from(
    start: Plan | Mapping[str, Any] | str | Path | None, graph: CostGraph
) -> Plan | None:
    """Return the plan as nodes of `graph`, found by their names; documents may be files.

    Raises
    ------
    CheckError
        If there is no plan of nodes of this graph.
    """
    if isinstance(start, Mapping):
        return plan_of(start, graph, "start")
    if isinstance(start, (str, Path)):
        return plan_of(read_document(start), graph, str(start))
    return start


def bounds_that_hold(known: Known, graph: CostGraph, machine: Machine) -> tuple[Bound, ...]:
    """Return the known lower bounds if they hold for `graph` on `machine`.

    They do for the same graph and a machine that is nowhere better: a plan of fewer stages is one of more
    stages, too, and slower links and less memory make no stage cheaper.
    """
    if known.graph.sha256 != graph.sha256 or not known.machine.is_nowhere_worse_than(machine):
        return ()
    return known.bounds
