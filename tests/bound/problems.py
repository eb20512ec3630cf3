# SPDX-License-Identifier: Apache-2.0
"""Small random problems and their optimum, for the tests of the bounds."""

from __future__ import annotations

import random
from dataclasses import replace

from stagewright import _native
from stagewright.machine import Machine
from stagewright.problem import Flow, Problem


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


def with_memory(rng: random.Random, problem: Problem, largest: int = 9) -> Problem:
    """Add parameters, some of them shared, working sets, and too little memory for them."""
    n, size = problem.num_nodes, 3 * largest
    users = [
        rng.sample(range(n), min(n, rng.choice([1, 1, 1, 2, 4]))) for _ in range(rng.randint(0, n))
    ]
    sets = tuple(rng.choice([0, rng.randint(0, size)]) for _ in range(n))
    params = tuple(rng.randint(0, size) for _ in users)
    memory = rng.choice([0, rng.randint(0, size), rng.randint(0, sum(params) + size)])
    bandwidth = rng.choice([10**12, 10**12, 2 * 10**12 // 3, 3 * 10**11])
    return replace(
        problem,
        machine=Machine(problem.machine.stages, bandwidth=bandwidth, memory=memory),
        param_bytes=params,
        params_of=tuple(tuple(p for p, row in enumerate(users) if v in row) for v in range(n)),
        working_set=sets,
        flow=Flow((), (), (), ((),) * n, ((),) * n),
    )


def optimum(problem: Problem) -> int:
    ideals = _native.IdealGraph(problem.instance, 1 << 20, 1 << 30)
    low, high = 0, problem.total_work
    if problem.memory_binds:
        high += problem.overflow(sum(problem.param_bytes) + max(problem.working_set))
    while low < high:
        middle = (low + high) // 2
        answer, _, _ = ideals.decide(problem.machine.stages, middle)
        low, high = (low, middle) if answer == "yes" else (middle + 1, high)
    return low


def wide_problem() -> Problem:
    return random_problem(random.Random(5), 90, 6, largest=10**9)
