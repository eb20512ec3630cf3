# SPDX-License-Identifier: Apache-2.0
"""What all stages of a plan cost, in one pass over the graph: the numbers of :func:`.workload.costs_of`."""

from __future__ import annotations

from .devices import Fleet
from .workload import PlacedPlan, PlacedStage, Workload, costs_of

__all__ = ["price_stages"]


def price_stages(workload: Workload, fleet: Fleet, plan: PlacedPlan) -> list[PlacedStage]:
    """Return the cost of every stage of a plan in an order that works, on devices that can run it.

    Time is linear in the graph where every node is in one stage and there is no schedule; otherwise the
    definition is followed.
    """
    graph = workload.graph
    n, k = graph.num_nodes, len(plan.stages)
    stage, place = [-1] * n, [0] * n
    for s, nodes in enumerate(plan.stages):
        for i, v in enumerate(nodes):
            stage[v], place[v] = s, i
    if fleet.schedule is not None or -1 in stage or sum(map(len, plan.stages)) > n:
        return costs_of(workload, fleet, plan)
    seats = [fleet.seat_at(device) for device in plan.devices]
    works = {seat.kind: workload.work_on(fleet, seat.kind) for seat in seats}
    received, sent, params = [0] * k, [0] * k, [0] * k
    alive = [[0] * (len(nodes) + 1) for nodes in plan.stages]
    replicable = graph.replicable.tolist()
    rows = zip(
        graph.tensor_producer.tolist(),
        graph.tensor_consumers.rows(),
        graph.tensor_bytes.tolist(),
        graph.tensor_time.tolist(),
        strict=True,
    )
    for p, users, size, time in rows:
        home = stage[p]
        last = {home: place[p]}  # per stage that has the tensor, the place of its last use
        for v in users:
            s = stage[v]
            if place[v] > last.get(s, -1):
                last[s] = place[v]
        if len(last) > 1:
            last[home] = len(plan.stages[home]) - 1
            if not replicable[p]:
                sent[home] += seats[home].send.price(size, time)
                for s in last:
                    if s != home:
                        received[s] += seats[s].receive.price(size, time)
        for s, end in last.items() if size > 0 else ():
            alive[s][place[p] if s == home else 0] += size
            alive[s][end + 1] -= size
    sizes = zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True)
    for size, users in sizes:
        for s in {stage[v] for v in users}:
            params[s] += size
    costs = []
    for s, (seat, nodes) in enumerate(zip(seats, plan.stages, strict=True)):
        work, now, peak = works[seat.kind], 0, 0
        for change in alive[s]:
            now += change
            peak = max(peak, now)
        overflow = fleet.kinds[seat.kind].spill_time(params[s] + peak)
        computed = sum([work[v] for v in nodes])
        costs.append(
            PlacedStage(computed, received[s], sent[s], overflow, params[s], peak, fleet.overlap)
        )
    return costs
