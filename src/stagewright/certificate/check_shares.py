# SPDX-License-Identifier: Apache-2.0
"""Part of the checker: all work shared out among kinds of devices, in fractions (docs/certificate.md).

Standard library only, and nothing of this package: check_proofs.py and check_search.py run this file, which lies
beside them, by its path.
"""

from __future__ import annotations

from typing import Any

SECOND = 10**12
tools: Any = globals().get("tools")  # the names of check.py


def load_prices(witness: Any, item: str) -> None:
    """Fault unless the witness has whole prices of time and of bytes, one of each per kind."""
    tools.keys(witness, item, ("hours", "sizes"))
    for key in ("hours", "sizes"):
        for price in tools.typed(witness[key], list, f"{item}.{key}"):
            if not 0 <= tools.typed(price, int, f"{item}.{key}") < 10**90:
                raise tools.FaultError(f"{item}.{key}: expected prices from 0 below 10^90")


def shared_out(problem: Any, graph: Any, fleet: Any, witness: Any) -> int:
    """Return the picoseconds that prices show no plan to be below; 0 where they show nothing.

    Wherever a class runs, it costs what its time and its own parameters cost there, and no more is sold below T
    than the time of all devices and the bytes that they hold.
    """
    hours, sizes = witness["hours"], witness["sizes"]
    kinds = fleet.kinds
    if len(hours) != len(kinds) or len(sizes) != len(kinds):
        return 0
    modes = [(1, False, 0)] * len(fleet.seats) if fleet.schedule is None else fleet.schedule.modes
    factor = 1 if fleet.schedule is None else fleet.schedule.factor
    several = any(replicas > 1 for replicas, _, _ in modes)
    sold: int = sum(kind.count * hour for kind, hour in zip(kinds, hours, strict=True))
    spent: int = 0
    for kind, hour, price in zip(kinds, hours, sizes, strict=True):
        room = kind.limit
        if room is None and price:
            # More is streamed: a byte costs no more than the time that this takes.
            rate = kind.link.bandwidth or 0
            if kind.memory is None or several or price * rate > hour * SECOND:
                return 0
            room = kind.memory
        spent -= kind.count * price * (room or 0)
    if not sold:
        return 0
    users: dict[int, int] = {}
    for params in problem.params:
        for p in params:
            users[p] = users.get(p, 0) + 1
    for v, params in enumerate(problem.params):
        held = factor * sum(graph.params[p][0] for p in params if users[p] == 1)
        costs = []
        for (kind, _, _), work, (replicas, _, _) in zip(
            fleet.seats, problem.work, modes, strict=True
        ):
            own = work[v]
            if own is not None:
                costs.append(hours[kind] * own * replicas + sizes[kind] * held)
        spent += min(costs, default=0)
    return max(0, -(-spent // sold))
