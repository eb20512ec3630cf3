# SPDX-License-Identifier: Apache-2.0
"""The public function robust: plans judged under uncertain costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from .api import Result, Source, read_plan
from .asking import MachineOptions, asked_for, machine_for
from .ladder import require_time_limit

if TYPE_CHECKING:
    from .graph import CostGraph
    from .robustness import Robustness, Spread

__all__ = ["chosen_result", "robust"]


def robust(
    model: CostGraph | str | Path,
    stages: int,
    *,
    count_graph_io: bool = False,
    spread: Spread | float | None = None,
    samples: int = 32,
    tolerance: float = 0.05,
    choose: Literal["worst", "mean"] = "mean",
    plan: Result | str | Path | None = None,
    factors: int = 10,
    time_limit: float = 10.0,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **machine: Unpack[MachineOptions],
) -> Robustness:
    """Judge plans by instances drawn from the uncertainty of the costs (docs/robustness.md).

    Parameters
    ----------
    model, stages, count_graph_io, machine
        As for :func:`plan`.
    spread
        What is uncertain and how much; a number is the relative spread of the work.  By default
        :data:`.robustness.spread.PROVENANCE`: less for what was measured than for what was estimated.
    samples
        Instances to judge by; as many again propose plans.
    tolerance
        "Close to the optimum" means at most this much above it.
    choose
        Whether the mean or the worst regret ranks the candidates.
    plan
        A result, or the path of a plan file, to judge as well.
    factors
        For how many of the costs that matter most to solve again with that cost alone changed.
    time_limit
        Seconds for each instance.
    progress
        Called with the instances solved so far and those in all.

    Raises
    ------
    InputError
        If something given cannot be used.
    LimitError
        If no plan was found within `memory_limit` for some instance.
    """
    from .certificate.build import plan_of
    from .robustness import Spread, study
    from .solve import Settings

    require_time_limit(time_limit)
    asked = asked_for(model, device=machine.get("device"), catalogue=machine.get("catalogue"))
    devices = machine_for(stages, **machine)
    graph = asked.graph
    if not isinstance(spread, Spread):
        spread = Spread(work=spread)
    given = None
    if isinstance(plan, Result):
        given = plan.plan
    elif plan is not None:
        given = plan_of(read_plan(plan)[0], graph, str(plan))
    if count_graph_io:
        graph = asked.charged(devices).graph
    return study(
        graph,
        devices,
        spread,
        samples=samples,
        tolerance=tolerance,
        choose=choose,
        given=given,
        factors=factors,
        settings=Settings(time_limit=time_limit, seed=seed, threads=threads),
        progress=progress,
    )


def chosen_result(found: Robustness, source: Source | None = None) -> Result:
    """Return the plan that a study chose as a result, with its cost and bounds for the costs as given."""
    chosen = found.chosen
    solution = found.nominal
    if chosen.name != "nominal":
        why = f"chosen for its {found.choose} regret among {len(found.candidates)} plans"
        solution = replace(
            solution, plan=chosen.plan, bottleneck=chosen.bottleneck, stopped_because=why
        )
    return Result(found.graph, found.machine, solution, found.seed, source)
