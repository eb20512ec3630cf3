# SPDX-License-Identifier: Apache-2.0
"""Shared devices as a mixed-integer program, after the one for non-contiguous splits of Tarnawski et al. (NeurIPS 2020).

Column x[v, d] says that unit v is on device d, and T is the period.  A device receives a tensor that some unit on it
reads and whose producer is elsewhere, and sends one that it makes and some reader elsewhere needs:

    in[t, d] >= x[reader, d] - x[producer, d],   out[t, d] >= x[producer, d] - x[reader, d]   for each reader.

Devices of a kind are alike, so they may be numbered by the first unit on each, in any order of the units: unit i
is on one of the first i + 1 of them.  Costs are rounded down to 2^-33 of the whole, which can only lower the bound.
Memory counts each parameter of a device once and its largest working set, a lower bound of what it holds.
"""

from __future__ import annotations

from typing import Final

from ..bound.model import Expression, Model, ModelBuilder
from ..units import PS_PER_SECOND
from .devices import UNABLE
from .task import Task

__all__ = ["SharedModel", "assignment_of", "model_columns", "shared_model"]

_UNITS: Final = 10
_GRAINS: Final = 33


def model_columns(task: Task) -> int:
    """Return about how many columns the model has."""
    return task.fleet.stages * (task.size + 2 * len(task.producer) + len(task.param_bytes))


def shared_model(task: Task, lower: int, upper: int) -> tuple[Model, list[list[int | None]]]:
    """Return the model and its columns x[v][d], None where a device cannot have a unit.

    Parameters
    ----------
    lower, upper
        Picoseconds between which the period lies.
    """
    return SharedModel(task, lower, upper).build()


def assignment_of(columns: list[list[int | None]], values: list[float]) -> list[int]:
    """Return the device of each unit in a solution."""
    return [
        max(range(len(row)), key=lambda d: -1.0 if row[d] is None else values[row[d] or 0])
        for row in columns
    ]


class SharedModel:
    """The columns of an assignment, and what is demanded of each device."""

    def __init__(self, task: Task, lower: int, upper: int) -> None:
        self.task, self.builder = task, ModelBuilder()
        bits = max(1, upper).bit_length()
        self.unit = 1 << max(0, bits - _UNITS)
        self.grain = 1 << max(0, bits - _GRAINS)
        self.period = self.builder.magnitude(-(-upper // self.unit), lower // self.unit)
        self.upper = upper

    def _scaled(self, time: int) -> float:
        # What is above the period of some plan is out of the question; so is then whatever costs more.
        time = min(time, 2 * self.upper)
        return (time - time % self.grain) / self.unit

    def build(self) -> tuple[Model, list[list[int | None]]]:
        """Return the model and its columns x[v][d]."""
        task, fleet = self.task, self.task.fleet
        order = sorted(range(task.size), key=lambda v: (-task.least_work()[v], v))
        rank = {v: i for i, v in enumerate(order)}
        seats = [(q, i) for q, kind in enumerate(fleet.kinds) for i in range(kind.count)]
        x: list[list[int | None]] = [
            [
                None
                if i > rank[v] or task.work[q][v] == UNABLE or task.work[q][v] > self.upper
                else self.builder.flag(integer=True)
                for q, i in seats
            ]
            for v in range(task.size)
        ]
        for row in x:
            total = Expression({column: 1.0 for column in row if column is not None})
            self.builder.at_least(total, 1.0)
            self.builder.at_least(Expression().minus(total), -1.0)
        for d, (q, _) in enumerate(seats):
            self._device(d, q, [row[d] for row in x])
        self._order(x)
        return self.builder.build(self.period, self.unit), x

    def _bound(self, device: int, load: Expression) -> None:
        """Demand that what a device does is within the period."""
        self.builder.not_below(Expression.of(self.period), [load])

    def _order(self, x: list[list[int | None]]) -> None:
        """Demand nothing of the order of the devices."""

    def _device(self, device: int, kind: int, on: list[int | None]) -> None:
        """Bound the load of a device; `on` says what is on it."""
        task, builder = self.task, self.builder
        member = [Expression() if column is None else Expression.of(column) for column in on]
        compute, received, sent = Expression(), Expression(), Expression()
        for v, form in enumerate(member):
            compute.add(form, self._scaled(max(0, task.work[kind][v])))
        for t, (p, users) in enumerate(zip(task.producer, task.consumers, strict=True)):
            prices = task.receive[kind][t], task.send[kind][t]
            if not any(prices):
                continue
            taken, given = builder.flag(), builder.flag()
            for user in users:
                difference = member[user].minus(member[p])
                builder.at_least(Expression.of(taken).minus(difference))
                builder.at_least(Expression.of(given).add(difference))
            received.add(Expression.of(taken), self._scaled(prices[0]))
            sent.add(Expression.of(given), self._scaled(prices[1]))
        if any(task.working_set) or any(task.params_of):
            self._memory(kind, member, compute)
        if task.fleet.overlap:
            for load in (compute, received, sent):
                self._bound(device, load)
        else:
            self._bound(device, compute.add(received).add(sent))

    def _memory(self, kind: int, member: list[Expression], compute: Expression) -> None:
        """Count what a device holds: against its limit, and what is streamed as computing."""
        task, builder, device = self.task, self.builder, self.task.fleet.kinds[kind]
        if device.memory is None and device.memory_limit is None:
            return
        whole = max(1, sum(task.param_bytes) + max(task.working_set))
        held = Expression.of(builder.flag())  # the largest working set, as a share of everything
        for form, size in zip(member, task.working_set, strict=True):
            builder.at_least(held.minus(Expression().add(form, size / whole)))
        users: dict[int, list[Expression]] = {}
        for form, params in zip(member, task.params_of, strict=True):
            for p in params:
                users.setdefault(p, []).append(form)
        for p, forms in users.items():
            used = Expression.of(builder.flag())
            builder.not_below(used, forms)
            held.add(used, task.param_bytes[p] / whole)
        if device.memory_limit is not None:
            builder.at_least(Expression().minus(held), -device.memory_limit / whole)
        if device.memory is not None:
            most = self._scaled(device.spill_time(whole))
            streamed = builder.magnitude(max(1.0, most))
            rate = whole * PS_PER_SECOND / (device.link.bandwidth or 1) / self.unit
            excess = Expression(constant=-rate * device.memory / whole).add(held, rate)
            builder.at_least(Expression.of(streamed).minus(excess))
            compute.add(Expression.of(streamed))
