# SPDX-License-Identifier: Apache-2.0
"""Plans for machines around the one that was planned for: other numbers of stages, other links."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from .errors import InfeasibleError, LimitError
from .graph import CostGraph
from .machine import Machine
from .plans import Plan, evaluate_all
from .reserved import solve_reserved
from .settings import Settings

__all__ = ["stages_around", "what_if"]

_FACTORS: Final = ((1, 4), (1, 2), (1, 1), (2, 1), (4, 1))
"""Of the bandwidth."""


def stages_around(k: int) -> list[int]:
    """Return the numbers of stages to look at: half, a few more and less, twice."""
    return sorted({max(1, k + d) for d in (-2, -1, 0, 1, 2)} | {max(1, k // 2), 2 * k})


def what_if(
    graph: CostGraph,
    machine: Machine,
    plan: Plan,
    *,
    time_limit: float = 20.0,
    seed: int = 0,
    threads: int | None = None,
    links: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Plan for other bandwidths and numbers of stages, each from the best plan known before.

    Parameters
    ----------
    graph, machine, plan
        What was planned for what, and the plan.
    time_limit
        Seconds for all of them; the machines most like `machine` come first, and what one does not need is
        there for the next.
    seed, threads
        As for :func:`.solve.solve`.
    links
        Whether bandwidths may be varied: not where the graph's work already holds what a link costs.
    progress
        Called with the machines done and those in all.

    Returns
    -------
    dict
        ``bandwidths`` (bytes per second; None where no tensor depends on one), ``stages``, ``points`` (a row for
        each bandwidth: ``{upper, lower, stages}`` in picoseconds, a text that says why there is no plan, or
        None where time ran out), ``note``.
    """
    deadline = time.monotonic() + time_limit
    bandwidths: list[int] | None = None
    if machine.bandwidth is not None and links:
        bandwidths = sorted({max(1, machine.bandwidth * a // b) for a, b in _FACTORS})
    # What single stages reserve is said for these stages only.
    stages = [machine.stages] if any(machine.reserved) else stages_around(machine.stages)
    rates: Sequence[int | None] = bandwidths or [machine.bandwidth]
    points: list[list[Any]] = [[None] * len(stages) for _ in rates]
    known = {(machine.bandwidth, machine.stages): plan}
    here = (rates.index(machine.bandwidth), stages.index(machine.stages))
    order = sorted(
        ((i, j) for i in range(len(rates)) for j in range(len(stages))),
        key=lambda at: (abs(at[0] - here[0]) + abs(at[1] - here[1]), at),
    )
    for done, (i, j) in enumerate(order):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        there = replace(machine, bandwidth=rates[i], stages=stages[j])
        settings = Settings(
            time_limit=left / (len(order) - done),
            seed=seed,
            threads=threads,
            start=_nearest(known, rates[i], stages[j]),
        )
        try:
            solution = solve_reserved(graph, there, settings)
        except InfeasibleError:
            points[i][j] = "No plan fits the memory limit: that is proven."
        except LimitError:
            points[i][j] = "No plan that fits the memory limit was found in time."
        else:
            known[rates[i], stages[j]] = solution.plan
            points[i][j] = {
                "upper": solution.bottleneck,
                "lower": solution.lower_bound,
                "stages": [
                    [cost.io_in, cost.work, cost.io_out, cost.overflow]
                    for cost in evaluate_all(graph, there, solution.plan)
                ],
            }
            if solution.stopped_because == "interrupted":
                break
        if progress is not None:
            progress(done + 1, len(order))
    found = sum(point is not None for row in points for point in row)
    note = f"{found} of {len(order)} were made in {time_limit:.3g} s."
    if found == len(order):
        note = f"All {found} were made within {time_limit:.3g} s."
    return {"bandwidths": bandwidths, "stages": stages, "points": points, "note": note}


def _nearest(
    known: dict[tuple[int | None, int], Plan], rate: int | None, stages: int
) -> Plan | None:
    """Return the plan for the most stages, but no more than so many, at the closest bandwidth."""

    def distance(at: tuple[int | None, int]) -> tuple[int, float]:
        ratio = (at[0] or 1) / (rate or 1)
        return (stages - at[1], max(ratio, 1 / ratio))

    fitting = [at for at, plan in known.items() if len(plan.stages) <= stages and at[1] <= stages]
    return known[min(fitting, key=distance)] if fitting else None
