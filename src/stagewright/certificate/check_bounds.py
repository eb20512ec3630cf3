# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: which bounds of a plan are proven, whatever the plan is for (docs/certificate.md).

Standard library only, and nothing of this package: the parts that know a kind of plan run this file, which lies
beside them, by its path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

tools: Any = globals().get("tools")  # the names of check.py

Bound = dict[str, Any]
Verdict = tuple[bool | None, str]  # proven, disproved (False) or open (None), and why


def weigh(
    bounds: list[Bound],
    proven: int,
    allowed: float | None,
    *,
    formula: Callable[[Bound, int], Verdict | None],
    flow: Callable[[Bound], Verdict],
    search: Callable[[int], Verdict],
) -> Iterator[tuple[Bound, bool | None, str]]:
    """Yield for every bound whether it is proven, disproved (False) or open (None), and why.

    Cheap proofs come first, since a bound below a proven one needs no proof of its own; `proven` is what is known
    before.  `formula` judges what is said to be recomputed, given what is proven by then, and may leave it to the
    search, which is asked whether no plan is below a value.
    """
    for bound in sorted(bounds, key=lambda b: (tools.EVIDENCE.index(b["evidence"]), -b["value"])):
        value, evidence = bound["value"], bound["evidence"]
        verdict: Verdict | None = None
        if evidence == "flow":
            verdict = flow(bound)
        elif evidence == "recomputed":
            verdict = formula(bound, proven)
        if verdict is None and value <= proven:
            verdict = True, "no more than what is proven already"
        elif verdict is None and evidence == "claimed" and allowed is None:
            verdict = None, "a claim without evidence"
        answer, why = verdict or search(value)
        if answer:
            proven = max(proven, value)
        yield bound, answer, why
