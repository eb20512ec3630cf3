# SPDX-License-Identifier: Apache-2.0
"""The makespan as a mixed-integer program, for graphs with too many ideals.

After the program for latency of Tarnawski et al. (NeurIPS 2020), each device with one piece.  To the columns of :mod:`.sharing_model`,
x[v, d] and what the load L[d] of a device is made of, come S[d], when a device starts, C[v], when the stage of a class is done,
and the makespan M (U is the value of some plan):

    C[v] >= S[d] + L[d] - U (1 - x[v, d]),      S[d] >= C[u] - U (1 - x[v, d] + x[u, d])   for v that reads u,
    M >= S[d] + L[d].

Stages come in an order as well, P[d] the place of that of a device and Q[v] of that of a class, for stages that take no
time could wait for each other:

    Q[v] = P[d] where x[v, d],      P[d] >= Q[u] + 1 - (D + 1) (1 - x[v, d] + x[u, d])   for u before v.
"""

from __future__ import annotations

from ..bound.model import Expression, Model
from .makespan_program import path_to
from .sharing_model import SharedModel
from .task import Task

__all__ = ["makespan_model"]


def makespan_model(
    task: Task, lower: int, upper: int, stage_limit: int | None = None
) -> tuple[Model, list[list[int | None]]]:
    """Return the model and its columns x[v][d], None where a device cannot have a class.

    Parameters
    ----------
    lower, upper
        Picoseconds between which the makespan lies.
    stage_limit
        Picoseconds that no stage may exceed.
    """
    return _MakespanModel(task, lower, upper, stage_limit).build()


class _MakespanModel(SharedModel):
    """The loads of devices, and when each may start."""

    def __init__(self, task: Task, lower: int, upper: int, stage_limit: int | None) -> None:
        super().__init__(task, lower, upper)
        self.most = float(-(-upper // self.unit))
        limit = self.most
        if stage_limit is not None:
            limit = min(limit, float(-(-stage_limit // self.unit)))
        devices, build = task.fleet.stages, self.builder
        self.loads = [build.magnitude(limit) for _ in range(devices)]
        self.starts = [build.magnitude(self.most) for _ in range(devices)]
        self.places = [build.magnitude(float(devices)) for _ in range(devices)]
        self.done = [
            build.magnitude(self.most, min(self.most, self._scaled(path))) for path in path_to(task)
        ]
        self.rank_of = [build.magnitude(float(devices)) for _ in range(task.size)]

    def _bound(self, device: int, load: Expression) -> None:
        """Take what a device does as its load."""
        self.builder.at_least(Expression.of(self.loads[device]).minus(load))

    def _order(self, x: list[list[int | None]]) -> None:
        """Demand that stages wait for each other."""
        task, build = self.task, self.builder
        devices = range(task.fleet.stages)
        reads: set[tuple[int, int]] = set()
        for p, users in zip(task.producer, task.consumers, strict=True):
            reads |= {(p, v) for v in users}
        for d in devices:
            finish = Expression({self.starts[d]: 1.0, self.loads[d]: 1.0})
            build.not_below(Expression.of(self.period), [finish])
            for v, row in enumerate(x):
                on = self._member(row[d])
                late = Expression.of(self.done[v]).minus(finish)
                build.at_least(late.add(on, -self.most), -self.most)
                for sign in (1.0, -1.0):
                    same = Expression({self.rank_of[v]: sign, self.places[d]: -sign})
                    build.at_least(same.add(on, -len(devices)), -float(len(devices)))
        for u, later in enumerate(task.after):
            for v in later:
                for d in devices:
                    apart = self._member(x[v][d]).minus(self._member(x[u][d]))
                    if (u, v) in reads:
                        wait = Expression.of(self.starts[d]).minus(Expression.of(self.done[u]))
                        build.at_least(wait.add(apart, -self.most), -self.most)
                    size = len(devices) + 1.0
                    after = Expression({self.places[d]: 1.0, self.rank_of[u]: -1.0})
                    build.at_least(after.add(apart, -size), 1.0 - size)

    @staticmethod
    def _member(column: int | None) -> Expression:
        return Expression() if column is None else Expression.of(column)
