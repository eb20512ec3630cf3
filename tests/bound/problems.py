# SPDX-License-Identifier: Apache-2.0
"""Small random problems and their optimum, for the tests of the bounds."""

from __future__ import annotations

import random

from stagewright import _native
from stagewright.machine import Machine
from stagewright.problem import Problem


def random_problem(rng: random.Random, n: int, stages: int, largest: int = 9) -> Problem:
    """Multi-consumer tensors, several per node, some free ones, some bare precedence."""
    density = rng.choice([0.1, 0.25, 0.5])
    producer, consumers, cost = [], [], []
    for v in range(n - 1):
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            users = tuple(u for u in range(v + 1, n) if rng.random() < density)
            if users:
                producer.append(v)
                consumers.append(users)
                cost.append(rng.randint(0, largest))
    edges = [(a, b) for a in range(n) for b in range(a + 1, n) if rng.random() < 0.05]
    return Problem(
        machine=Machine(stages),
        work=tuple(rng.randint(0, largest) for _ in range(n)),
        producer=tuple(producer),
        consumers=tuple(consumers),
        cost=tuple(cost),
        edges=tuple(edges),
        param_bytes=(),
        params_of=((),) * n,
        working_set=(0,) * n,
        members=tuple((v,) for v in range(n)),
        flow=None,
    )


def optimum(problem: Problem) -> int:
    ideals = _native.IdealGraph(problem.instance, 1 << 20, 1 << 30)
    low, high = 0, problem.total_work
    while low < high:
        middle = (low + high) // 2
        answer, _, _ = ideals.decide(problem.machine.stages, middle)
        low, high = (low, middle) if answer == "yes" else (middle + 1, high)
    return low


def wide_problem() -> Problem:
    return random_problem(random.Random(5), 90, 6, largest=10**9)
