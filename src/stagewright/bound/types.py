# SPDX-License-Identifier: Apache-2.0
"""What a lower bound says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Bound", "Evidence"]

Evidence = Literal["recomputed", "flow", "exhaustive", "claimed"]


@dataclass(frozen=True)
class Bound:
    """A lower bound on the bottleneck of every plan.

    Attributes
    ----------
    method
        The bound's name in the ladder: ``simple``, ``anchor``, ``exact`` ...
    value
        Picoseconds.
    seconds
        Time it took.
    evidence
        How it is known: ``recomputed`` (a formula), ``flow`` (a stored maximum flow proves it),
        ``exhaustive`` (all cases were looked at), ``claimed`` (by a solver).
    witness
        What lets the checker verify it; for ``flow`` see docs/certificate.md.
    solver
        Name and version of the solver that claims it; not part of a plan file.
    """

    method: str
    value: int
    seconds: float
    evidence: Evidence
    witness: dict[str, Any] | None = None
    solver: str | None = None
