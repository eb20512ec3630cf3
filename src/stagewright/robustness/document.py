# SPDX-License-Identifier: Apache-2.0
"""The outcome of a study as a document: what ``robust --json`` prints and the tables show."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

from ..units import seconds_from_ps
from .studies import Candidate, Factor, Interval, Robustness

__all__ = ["FORMAT", "robustness_document"]

FORMAT: Final = "stagewright-robustness/1"


def robustness_document(found: Robustness) -> dict[str, Any]:
    """Return the document; docs/robustness.md lists the keys.  Times are seconds, the rest parts of one.

    A regret is a pair: at least, at most.  They differ where an optimum is not proven; null is "no limit known".
    """
    return {
        "format": FORMAT,
        "graph": found.graph.name,
        "graph_sha256": found.graph.sha256,
        "machine": found.machine.to_json(),
        "spread": found.spread.to_json(),
        "samples": found.samples,
        "proven": found.proven,
        "tolerance": found.tolerance,
        "choose": found.choose,
        "chosen": found.chosen.name,
        "plans": [_plan(found, c) for c in found.candidates],
        "factors": [_factor(f) for f in found.factors],
        "nodes": found.graph.num_nodes,
        "shared_reduction": found.reduced_nodes,
        "interrupted": found.interrupted,
        "seed": found.seed,
        "seconds": Decimal(f"{found.seconds:.6f}"),
    }


def _plan(found: Robustness, candidate: Candidate) -> dict[str, Any]:
    names = found.graph.node_names
    return {
        "name": candidate.name,
        "bottleneck": seconds_from_ps(candidate.bottleneck),
        "mean": seconds_from_ps(round(candidate.mean)),
        "high": seconds_from_ps(candidate.high),
        "mean_regret": _pair(candidate.mean_regret),
        "worst_regret": _pair(candidate.worst_regret),
        "within": [int(candidate.within.low), int(candidate.within.high)],
        "stages": [[names[v] for v in stage] for stage in candidate.plan.stages],
    }


def _factor(factor: Factor) -> dict[str, Any]:
    return {
        "name": factor.name,
        "nodes": factor.nodes,
        "spread": factor.spread,
        "work": seconds_from_ps(factor.work),
        "critical": _part(factor.critical),
        "share": _part(factor.share),
        "effect": _part(factor.effect),
        "regret": None if factor.regret is None else _pair(factor.regret),
    }


def _pair(interval: Interval) -> list[Decimal | None]:
    return [_part(interval.low), _part(interval.high)]


def _part(value: float) -> Decimal | None:
    return Decimal(f"{value:.9f}") if math.isfinite(value) else None
