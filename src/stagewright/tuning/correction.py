# SPDX-License-Identifier: Apache-2.0
"""What a measured pipeline says about the costs that it was planned with.

Stages are measured, nodes are not, so a stage's nodes share a factor.  It makes the stage's predicted
total, hops included, what the stage was busy for.  The logarithm of a node's factor moves by 1/n of
what the n-th measurement asks for (Robbins and Monro, A Stochastic Approximation Method, 1951): the
first corrects in full, later ones average, so noise does not make plans swing for ever.

Hops are fitted over all rounds: the seconds that stages sent for are latency times copies plus bytes
over bandwidth.  Few different cuts say little about two numbers, so the fit is pulled softly to the
assumed link, as much slower or faster as all sends were on average (ridge regression, relative errors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from ..graph import CostGraph
from ..machine import Machine
from ..plans import Plan, evaluate_all
from ..units import INT64_MAX, PS_PER_SECOND

__all__ = ["Costs", "Measurement", "StageMeasurement", "corrected", "fitted_link"]

# One measurement changes nodes by no more: a stage that hardly works tells nothing about them.
_MOST: Final = 8.0
_RIDGE: Final = 0.001
_LEAST_LINK: Final = 1e-3
_LATENCY_SCALE: Final = 1e-6


@dataclass(frozen=True)
class StageMeasurement:
    """What a stage did for an item while all others ran: medians in seconds.

    Attributes
    ----------
    compute, send
        Computing; handing on, without waiting for room.
    copies, nbytes
        How many tensors it handed on, one for each receiver, and their bytes; None where sizes are
        unknown.
    """

    compute: float
    send: float
    copies: int
    nbytes: int | None

    @property
    def busy(self) -> float:
        """Seconds that the stage needs for an item."""
        return self.compute + self.send


@dataclass(frozen=True)
class Measurement:
    """A measured pipeline: its period in seconds, and its stages."""

    period: float
    stages: tuple[StageMeasurement, ...]


@dataclass(frozen=True, eq=False)
class Costs:
    """A graph and a machine, and what was learnt about both.

    Attributes
    ----------
    base, base_machine
        Before any correction.
    machine
        With the fitted link.
    log_factors
        float64[n]; natural logarithm of what each node's work is multiplied by.
    sent
        Of every stage measured so far: copies, bytes, seconds.
    rounds
        How many measurements are in it.
    """

    base: CostGraph
    base_machine: Machine
    machine: Machine
    log_factors: npt.NDArray[np.float64]
    sent: tuple[tuple[int, int, float], ...] = ()
    rounds: int = 0

    @classmethod
    def of(cls, graph: CostGraph, machine: Machine) -> Costs:
        """Return the costs as they are before anything was measured."""
        return cls(graph, machine, machine, np.zeros(graph.num_nodes))

    def factors(self) -> dict[str, float]:
        """Return what the work of each node, by name, is multiplied by."""
        return dict(zip(self.base.node_names, np.exp(self.log_factors).tolist(), strict=True))

    @property
    def graph(self) -> CostGraph:
        """The graph with corrected work."""
        pairs = zip(self.base.work.tolist(), self.factors().values(), strict=True)
        return self.base.replace(work=[scaled(work, factor) for work, factor in pairs])


def scaled(work: int, factor: float) -> int:
    """Return picoseconds times a factor, rounded; what costs something goes on doing so."""
    return max(min(work, 1), min(round(work * factor), INT64_MAX // 4))


def corrected(costs: Costs, plan: Plan, found: Measurement) -> Costs:
    """Return what is known once a plan's pipeline has been measured.

    Parameters
    ----------
    costs
        What the plan was made with.
    plan
        It, as nodes of the graph.
    found
        Its stages, in the plan's order.
    """
    rows = [(s.copies, s.nbytes, s.send) for s in found.stages if s.nbytes is not None]
    sent = (*costs.sent, *((c, b, t) for c, b, t in rows if c and t > 0))
    machine = fitted_link(costs.base_machine, sent)
    number = costs.rounds + 1
    logs = costs.log_factors.copy()
    priced = evaluate_all(costs.graph, machine, plan)
    for nodes, cost, stage in zip(plan.stages, priced, found.stages, strict=True):
        if cost.work:
            hops = (cost.total - cost.work) / PS_PER_SECOND
            ratio = (stage.busy - hops) / (cost.work / PS_PER_SECOND)
            logs[list(nodes)] += math.log(min(max(ratio, 1 / _MOST), _MOST)) / number
    return replace(costs, machine=machine, log_factors=logs, sent=sent, rounds=number)


def fitted_link(machine: Machine, sent: Sequence[tuple[int, int, float]]) -> Machine:
    """Return the machine with the link that explains best what sending took.

    Parameters
    ----------
    machine
        With the link that was assumed.
    sent
        Copies, bytes and seconds of stages.
    """
    if machine.bandwidth is None or not sent:
        return machine
    latency, pace = machine.latency / PS_PER_SECOND, 1 / machine.bandwidth
    guesses = [n * latency + b * pace for n, b, _ in sent]
    ratios = [t / guess for guess, (_, _, t) in zip(guesses, sent, strict=True) if guess > 0]
    # The assumed link at the right level; around it both numbers are near 1, and so are all rows.
    level = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else 1.0
    latency, pace = level * latency, level * pace
    unit = max(latency, _LATENCY_SCALE)
    table = np.array([[n * unit / t, b * pace / t] for n, b, t in sent])
    start = np.array([latency / unit, 1.0])
    square = table.T @ table / len(sent) + _RIDGE * np.eye(2)
    target = table.sum(axis=0) / len(sent) + _RIDGE * start
    x, y = _least_above(square, target, _LEAST_LINK)
    bandwidth = min(max(1, round(1 / (y * pace))), INT64_MAX)
    return replace(machine, bandwidth=bandwidth, latency=round(x * unit * PS_PER_SECOND))


def _least_above(
    square: npt.NDArray[np.float64], target: npt.NDArray[np.float64], least: float
) -> tuple[float, float]:
    """Minimise v' square v / 2 - target' v over v >= least, for two unknowns, by all four cases."""
    best = (least, least)
    for free in product((True, False), repeat=2):
        v = np.full(2, least)
        index = [i for i in range(2) if free[i]]
        held = [i for i in range(2) if not free[i]]
        if index:
            rest = target[index] - square[np.ix_(index, held)] @ v[held]
            v[index] = np.linalg.solve(square[np.ix_(index, index)], rest)
        if (v >= least).all() and _value(square, target, v) < _value(
            square, target, np.array(best)
        ):
            best = (float(v[0]), float(v[1]))
    return best


def _value(
    square: npt.NDArray[np.float64], target: npt.NDArray[np.float64], v: npt.NDArray[np.float64]
) -> float:
    return float(v @ square @ v / 2 - target @ v)
