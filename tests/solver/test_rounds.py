# SPDX-License-Identifier: Apache-2.0
"""Rounds of tasks: one outcome at any number of threads, cancelled from outside, ended by the clock."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stagewright import _native
from stagewright.effort import Effort
from stagewright.exact.pricing import Pricing
from stagewright.exact.program import ExactLimits, Proof, Prover
from stagewright.graph import CostGraph, GraphBuilder
from stagewright.machine import Machine
from stagewright.plans import problems_of
from stagewright.portfolio import Known, Portfolio
from stagewright.problem import Problem, compile_problem
from stagewright.readers.graph_writer import write_graph_file
from stagewright.reduce import reduce_problem
from stagewright.rounds import Ends, Rounds, Task
from stagewright.search.orders import Found, one_stage, search_orders
from stagewright.search.windows import search_windows
from stagewright.settings import Settings
from stagewright.solve import Progress, Solution, solve


def wide_graph(nodes: int, seed: int, nbytes: bool = False) -> CostGraph:
    """Return a random layered graph with far too many ideals to list."""
    rng = random.Random(seed)
    builder = GraphBuilder(f"wide-{nodes}-{seed}")
    for v in range(nodes):
        builder.add_node(f"v{v}", work=rng.randint(1000, 30_000))
        if nbytes:
            builder.add_param(rng.randint(0, 3000), [v])
    for v in range(nodes - 1):
        reach = range(v + 1, min(nodes, v + 1 + nodes // 4))
        users = sorted(rng.sample(reach, min(len(reach), rng.randint(1, 3))))
        size = rng.randint(100, 9000)
        if nbytes:
            builder.add_tensor(v, users, nbytes=size)
        else:
            builder.add_tensor(v, users, time=size)
    return builder.build()


# --- the rounds themselves ------------------------------------------------------------------------


def task(value: int, rank: int, seconds: float, log: list[int]) -> Task[int]:
    """Return a task that takes so long unless it is cancelled, and then logs its value."""

    def run(effort: Effort) -> int:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and not effort.over():
            time.sleep(0.001)
        if not effort.over():
            log.append(value)
        return value

    return Task(str(value), run, 1, rank)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_outcomes_come_by_rank_and_ends_hold_at_any_thread_count(threads: int) -> None:
    rng = random.Random(threads)
    for _ in range(30):
        # 1 proves all, 2 cannot be beaten, 0 is neither; a proof excludes the other.
        kinds = [rng.choice([0, 0, rng.choice([1, 2])]) for _ in range(4)]
        if 1 in kinds:
            kinds = [min(kind, 1) for kind in kinds]
            kinds = [1 if i == kinds.index(1) else 0 for i in range(4)]
        ranks = rng.sample(range(4), 4)
        meaning = {0: Ends.NOTHING, 1: Ends.ALL, 2: Ends.LOWER_RANKS}
        log: list[int] = []
        tasks = [task(r, r, rng.random() * 0.004, log) for r in ranks]
        kind_of = dict(zip(ranks, kinds, strict=True))
        with Rounds(threads, time.perf_counter() + 10) as rounds:
            found = rounds.run(tasks, lambda r: meaning[kind_of[r]])  # noqa: B023  # used at once
        if 1 in kinds:
            assert found == [r for r in ranks if kind_of[r] == 1]
        else:
            last = min((r for r in ranks if kind_of[r] == 2), default=3)
            assert found == list(range(last + 1))


def test_an_end_cancels_what_runs() -> None:
    log: list[int] = []
    start = time.perf_counter()
    with Rounds(2, start + 60) as rounds:
        assert rounds.run(
            [task(0, 0, 50, log), task(1, 1, 0.01, log), task(2, 2, 50, log)],
            lambda value: Ends.ALL if value == 1 else Ends.NOTHING,
        ) == [1]
    assert log == [1]


def test_a_fault_in_a_task_is_raised() -> None:
    def fail(_: Effort) -> int:
        raise ValueError("broken")

    with Rounds(2, time.perf_counter() + 5) as rounds, pytest.raises(ValueError, match="broken"):
        rounds.run([Task("x", fail, 1, 0)], lambda _: Ends.NOTHING)


# --- native calls ----------------------------------------------------------------------------------


def reduced(nodes: int = 150, stages: int = 6) -> Problem:
    return reduce_problem(compile_problem(wide_graph(nodes, 3), Machine(stages)))


def test_equal_work_gives_equal_results_and_more_work_none_that_are_worse() -> None:
    problem = reduced()
    values = []
    for work in (10**5, 10**7, 10**8):
        runs = []
        for _ in range(2):
            found = search_orders(problem, 0, None, effort=Effort.within(60, work // 5))
            runs.append(search_windows(problem, 0, found, effort=Effort.within(60, work)))
        assert runs[0].bottleneck == runs[1].bottleneck
        assert runs[0].evaluations == runs[1].evaluations
        assert np.array_equal(runs[0].block, runs[1].block)
        values.append(runs[0].bottleneck)
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]
    upper = values[-1]
    for work in (10**6, 3 * 10**7):
        bounds = [
            _native.Skeleton(problem.instance).bound(6, 1, upper, work=work)[:5] for _ in range(2)
        ]
        assert bounds[0] == bounds[1]
        assert bounds[0][0] <= upper


def test_cancelled_from_another_thread() -> None:
    problem = reduced(400)
    calls: list[Callable[[_native.Cancel], object]] = [
        lambda cancel: _native.search_windows(
            problem.instance, 6, 0, one_stage(problem).block, cancel=cancel
        ),
        lambda cancel: _native.search_orders(problem.instance, 6, 0, restarts=10**9, cancel=cancel),
        lambda cancel: _native.Skeleton(problem.instance).bound(6, 1, 2**50, cancel=cancel),
        lambda cancel: _native.IdealGraph(problem.instance, 10**9, 2**31, cancel=cancel),
    ]
    for call in calls:
        cancel = _native.Cancel()
        timer = threading.Timer(0.05, cancel.set)
        timer.start()
        call(cancel)  # would take minutes
        timer.join()
        assert cancel.is_set


# --- the whole method ------------------------------------------------------------------------------


def same(a: Solution, b: Solution) -> bool:
    return (a.plan, a.bottleneck, a.lower_bound) == (b.plan, b.bottleneck, b.lower_bound)


CASES = [
    (wide_graph(60, 1), Machine(4)),
    (wide_graph(110, 2), Machine(6)),
    (wide_graph(40, 4, nbytes=True), Machine(3, bandwidth=10**12, memory=20_000)),
    (wide_graph(40, 5, nbytes=True), Machine(4, bandwidth=10**12, memory_limit=80_000)),
    (wide_graph(25, 6), Machine(5)),
]


QUICK = Settings(
    time_limit=1000,
    first_round=0.02,
    anchor_work=0.05,
    quick_work=0.1,
    evolve_work=0.1,
    max_rounds=3,
)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_same_at_one_two_and_four_threads(case: int) -> None:
    graph, machine = CASES[case]
    solutions = [solve(graph, machine, replace(QUICK, threads=n)) for n in (1, 2, 4)]
    assert same(solutions[0], solutions[1])
    assert same(solutions[0], solutions[2])
    assert problems_of(graph, machine, solutions[0].plan) == []
    assert solutions[0].lower_bound <= solutions[0].bottleneck


def test_more_rounds_are_never_worse() -> None:
    graph, machine = CASES[1]
    found = [solve(graph, machine, replace(QUICK, max_rounds=n)) for n in (0, 1, 3)]
    assert found[0].stopped_because == "the number of rounds"
    uppers, lowers = [s.bottleneck for s in found], [s.lower_bound for s in found]
    assert uppers == sorted(uppers, reverse=True)
    assert lowers == sorted(lowers)
    assert lowers[-1] > lowers[0]


def test_progress_comes_from_the_calling_thread_and_only_improves() -> None:
    points: list[Progress] = []
    threads = set()

    def report(point: Progress) -> None:
        points.append(point)
        threads.add(threading.get_ident())

    graph, machine = CASES[1]
    solution = solve(graph, machine, replace(QUICK, threads=4), progress=report)
    assert threads == {threading.get_ident()}
    assert points == list(solution.history)
    for values in ([-p.upper for p in points], [p.lower for p in points]):
        assert values == sorted(values)


def test_called_from_another_thread() -> None:
    found: list[Solution] = []
    graph, machine = CASES[4]
    thread = threading.Thread(target=lambda: found.append(solve(graph, machine, QUICK)))
    thread.start()
    thread.join()
    assert same(found[0], solve(graph, machine, QUICK))


@pytest.mark.parametrize("nbytes", [False, True])
def test_the_time_limit_ends_it(nbytes: bool) -> None:
    graph = wide_graph(300, 7, nbytes)
    machine = Machine(6, bandwidth=10**12, memory=10_000 if nbytes else None)
    solution = solve(graph, machine, Settings(time_limit=0.5))
    assert solution.stopped_because == "the time limit"
    assert solution.history[-1].seconds > 0.4
    assert problems_of(graph, machine, solution.plan) == []


def test_it_ends_by_itself_when_only_orders_within_stages_are_left() -> None:
    # One stage: searches and relaxations end at once, and too few ideals are allowed for a proof.
    stopped = set()
    for seed in range(12):
        graph = wide_graph(24, seed, nbytes=True)
        machine = Machine(1, bandwidth=10**12, memory=90_000)
        limits = ExactLimits(max_ideals=3)
        settings = replace(QUICK, quick=limits, exact=limits, max_rounds=None)
        stopped.add(solve(graph, machine, settings).stopped_because)
    peaks = "the order within stages decides the rest of the gap (peak memory)"
    assert stopped <= {"the gap is closed", peaks}


def test_an_exact_proof_that_failed_waits_for_more_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def failing(
        self: Prover, incumbent: Found, lower: int, limits: ExactLimits, effort: Effort
    ) -> Proof:
        asked.append(effort.work)
        return Proof(incumbent, 0, 10, 10, complete=True, more=True)

    monkeypatch.setattr("stagewright.portfolio.Prover.go_on", failing)
    # Where memory binds, each question begins anew.
    graph = wide_graph(30, 1, nbytes=True)
    machine = Machine(4, bandwidth=10**12, memory=10_000)
    problem = compile_problem(graph, machine)
    pricing = Pricing(graph, machine, reduce_problem(problem))
    portfolio = Portfolio(graph, problem, pricing, Settings())
    whole = pricing.true_cost(one_stage(pricing.problem))
    better = replace(whole, bottleneck=whole.bottleneck // 2)

    def ask(found: Found, effort: Effort) -> bool:
        known = Known(found, found, 0, number=2)
        (exact,) = [task for task in portfolio.tasks(known) if task.name == "exact"]
        return exact.run(effort).more

    endless = Effort.within(1e9)
    assert ask(whole, replace(endless, work=100))
    assert ask(whole, replace(endless, work=100))  # no more work than was in vain
    assert ask(whole, replace(endless, work=101))
    assert ask(better, replace(endless, work=50))  # a much better incumbent is another question
    assert asked == [100, 101, 50]
    late = replace(endless, work=200, deadline=time.perf_counter() + 0.01)
    time.sleep(0.02)
    portfolio._exact(ExactLimits(), Known(better, better, 0, number=2), late)
    assert ask(better, replace(endless, work=60))  # time ended it, which says nothing of its work
    assert asked == [100, 101, 50, 200, 60]


# --- Ctrl-C ----------------------------------------------------------------------------------------

_CHILD = """
import sys
import stagewright.solve
from stagewright.cli import main
from stagewright.portfolio import Portfolio

def noted(owner, name):
    original = getattr(owner, name)
    def wrapped(*arguments, **options):
        print("in " + name, file=sys.stderr, flush=True)
        return original(*arguments, **options)
    setattr(owner, name, wrapped)

phase = sys.argv[1]
noted(Portfolio if hasattr(Portfolio, phase) else sys.modules["stagewright.solve"], phase)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    "phase",
    [
        "compile_problem",
        "reduce_problem",
        "_first_look",
        "anchor",
        "_quick_proof",
        "_improve",
        "_relax",
    ],
)
def test_interrupted_in_every_phase_the_best_plan_is_written(phase: str, tmp_path: Path) -> None:
    graph = wide_graph(500, 8)
    write_graph_file(graph, tmp_path / "wide.graph.json")
    plan = tmp_path / "plan.json"
    command = [sys.executable, "-c", _CHILD, phase, "plan", str(tmp_path / "wide.graph.json")]
    command += ["-k", "8", "--time-limit", "100", "--threads", "2", "-o", str(plan)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith(f"in {phase}"):
                break
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert child.returncode == 130
    document = json.loads(plan.read_text())
    assert document["stopped_because"] == "interrupted"
    nodes = [name for stage in document["stages"] for name in stage["nodes"]]
    assert sorted(nodes) == sorted(graph.node_names)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_interrupted_at_any_time_the_best_plan_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = wide_graph(120, 6)
    delay = 0.0
    enter = Rounds.__enter__

    def entered(self: Rounds) -> Rounds:
        enter(self)
        thread = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        thread.start()
        timers.append(thread)
        return self

    monkeypatch.setattr(Rounds, "__enter__", entered)
    timers: list[threading.Timer] = []
    before = signal.getsignal(signal.SIGINT)
    for step in range(40):
        delay = 0.007 * step
        solution = solve(graph, Machine(6), Settings(time_limit=60.0, threads=2))
        timers.pop().join()
        assert solution.stopped_because == "interrupted"
        assert problems_of(graph, Machine(6), solution.plan) == []
        assert signal.getsignal(signal.SIGINT) is before
