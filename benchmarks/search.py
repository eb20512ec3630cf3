# SPDX-License-Identifier: Apache-2.0
"""The paper's search and ours: quality at equal evaluations, at equal time, and evaluations per second.

    python -m benchmarks.search INSTANCES... [--stages 8 16] [--seconds 2] [--parts evaluations time speed]
                                [--synthetic 200 1000 10000] [--onnx DEVICE]

INSTANCES are graph files whose tensors have costs; --synthetic adds a layered, a mixture-of-experts and a random graph
of so many nodes, --onnx the light models of the onnx package.  At equal evaluations a window and a move of a node
count as one each, a corridor and a cycle through the levels as 1,000: they cost far less or more than an order, so
the seconds stand beside.  Values are how far above the best bottleneck that
any column reached a method ends, in percent, geometric mean over the instances; the rows of the
instances are printed with --rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.common import geometric_mean, header, row, table
from benchmarks.onnx_light import LIGHT

from stagewright import _native
from stagewright.api import machine_for, read
from stagewright.benching.families import FAMILIES, layered_model
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.problem import Problem, compile_problem
from stagewright.readers import load
from stagewright.reduce import reduce_problem
from stagewright.search.corridor import Corridor, search_corridor
from stagewright.search.genetic import PRESETS, Genetic, RandomOrders, search_genetic
from stagewright.search.local import LocalSearch, search_locally
from stagewright.search.multilevel import Multilevel, search_levels
from stagewright.search.orders import OrderSearch, search_orders
from stagewright.search.windows import WindowSearch, search_windows
from stagewright.solve import Settings, solve

Method = Callable[[CostGraph, Machine], int]
Case = tuple[CostGraph, Callable[[int], Machine]]  # a graph, and the machine of k stages for it


def lower_of(problem: Problem) -> int:
    return max(-(-problem.total_work // problem.machine.stages), *problem.work)


def prepared(graph: CostGraph, machine: Machine, reduced: bool) -> Problem:
    problem = compile_problem(graph, machine)
    return reduce_problem(problem) if reduced else problem


def preset(name: str, reduced: bool, warm: bool = False) -> Method:
    """Run a preset once; warm: from the best of 30 depth-first and random orders."""

    def run(graph: CostGraph, machine: Machine) -> int:
        problem = prepared(graph, machine, reduced)
        lower = lower_of(problem)
        start = search_orders(problem, lower, settings=OrderSearch(30, 0)) if warm else None
        return search_genetic(problem, name, lower, start).bottleneck

    return run


def orders(reduced: bool, evaluations: int) -> Method:
    """Run the search over orders with redrawn segments: our own at equal evaluations."""

    def run(graph: CostGraph, machine: Machine) -> int:
        problem = prepared(graph, machine, reduced)
        settings = OrderSearch(evaluations // 10, evaluations - evaluations // 10)
        return search_orders(problem, lower_of(problem), settings=settings).bottleneck

    return run


def repeated(settings: RandomOrders | Genetic, reduced: bool, seconds: float) -> Method:
    """Run with new seeds until the time is up."""

    def run(graph: CostGraph, machine: Machine) -> int:
        end = time.perf_counter() + seconds
        problem = prepared(graph, machine, reduced)
        lower = lower_of(problem)
        best, seed = None, 0
        while best is None or (time.perf_counter() < end and best > lower):
            left = max(0.0, end - time.perf_counter())
            found = search_genetic(problem, replace(settings, seed=seed), lower, seconds=left)
            best = found.bottleneck if best is None else min(best, found.bottleneck)
            seed += 1
        return best

    return run


def improving(kind: str, evaluations: int = 10**12, seconds: float = 1e9) -> Method:
    """Run a search that changes a plan, from the best of 30 orders, on the reduced problem."""

    def run(graph: CostGraph, machine: Machine) -> int:
        end = time.perf_counter() + seconds
        problem = prepared(graph, machine, reduced=True)
        lower = lower_of(problem)
        start = search_orders(problem, lower, settings=OrderSearch(30, 0))
        left = max(0.0, end - time.perf_counter())
        if kind == "windows":
            windows = WindowSearch(rounds=evaluations)
            return search_windows(problem, lower, start, windows, left).bottleneck
        if kind == "moves":
            moves = LocalSearch(moves=evaluations)
            return search_locally(problem, lower, start, moves, left).bottleneck
        if kind == "corridor":
            # A corridor holds some hundred ideals per boundary; it ends by itself when widening stops paying.
            rounds = max(1, evaluations // 1000)
            corridor = Corridor(rounds=min(rounds, 10**9))
            return search_corridor(problem, lower, start, corridor, left).bottleneck
        cycles = max(1, min(evaluations // 1000, 10**9))
        levels = Multilevel(cycles=cycles, windows=700)
        return search_levels(problem, lower, None, levels, left).bottleneck

    return run


IMPROVING = ("windows", "moves", "corridor", "levels")


def whole(seconds: float) -> Method:
    return lambda graph, machine: solve(graph, machine, Settings(time_limit=seconds)).bottleneck


def at_equal_evaluations() -> Iterator[tuple[str, Method]]:
    for name in ("random-100", "brkga-100", "random-1000", "random-10000", "brkga-10000"):
        for reduced in (False, True):
            yield f"{name}{', reduced' if reduced else ''}", preset(name, reduced)
    for reduced in (False, True):
        end = ", reduced" if reduced else ""
        yield f"brkga-10000, warm{end}", preset("brkga-10000", reduced, warm=True)
    yield "islands-10000, reduced", preset("islands-10000", True)
    yield "orders-10000, reduced", orders(True, 10_000)
    for kind in IMPROVING:
        yield f"{kind}-10000, reduced", improving(kind, evaluations=10_000)


def at_equal_time(seconds: float) -> Iterator[tuple[str, Method]]:
    drawn, evolved, islands = (
        PRESETS[name] for name in ("random-10000", "brkga-10000", "islands-10000")
    )
    for reduced in (False, True):
        end = ", reduced" if reduced else ""
        yield f"random{end}", repeated(drawn, reduced, seconds)
        yield f"brkga-10000, repeated{end}", repeated(evolved, reduced, seconds)
    yield "islands-10000, repeated, reduced", repeated(islands, True, seconds)
    for kind in IMPROVING:
        yield f"{kind}, reduced", improving(kind, seconds=seconds)
    yield "solve()", whole(seconds)


def compare(methods: dict[str, Method], cases: list[Case], stages: list[int], rows: bool) -> None:
    """Print, per method, how far above the best of all methods it ends."""
    above: dict[str, list[float]] = {name: [] for name in methods}
    spent = dict.fromkeys(methods, 0.0)
    for graph, machine_of in cases:
        for k in stages:
            reached = {}
            for name, method in methods.items():
                start = time.perf_counter()
                reached[name] = method(graph, machine_of(k))
                spent[name] += time.perf_counter() - start
            best = min(reached.values())
            for name, value in reached.items():
                above[name].append(value / best)
            if rows:
                cells = ", ".join(f"{n}: {100 * (v / best - 1):.2f}" for n, v in reached.items())
                print(f"{graph.name}, k = {k}, best {best / 1e9:.4f} ms; {cells}", flush=True)
    table(["method", "above the best, %", "worst, %", "times the best", "seconds in all"])
    for name, values in above.items():
        row(
            [
                name,
                f"{100 * (geometric_mean(values) - 1):.2f}",
                f"{100 * (max(values) - 1):.1f}",
                f"{sum(v == 1 for v in values)} of {len(values)}",
                f"{spent[name]:.1f}",
            ]
        )


def speed(nodes: list[int], stages: int, rounds: int) -> None:
    """Print decoded orders per second of BRKGA against the direct method."""
    table(["nodes", "orders per second", "direct, orders per second", "ratio"])
    for n in nodes:
        problem = compile_problem(layered_model(n, seed=1), Machine(stages))
        generations = max(2, min(100, 100_000 // n))
        pairs = []
        for seed in range(rounds):
            settings = Genetic(population=100, generations=generations, seed=seed)
            start = time.perf_counter()
            found = search_genetic(problem, settings, lower_of(problem))
            ours = found.decoded / (time.perf_counter() - start)
            order = _native.random_order(problem.instance, "random", seed)
            start = time.perf_counter()
            _native.slice_directly(problem.instance, order, stages)
            pairs.append((ours, 1 / (time.perf_counter() - start)))
        ours, direct = (statistics.median(column) for column in zip(*pairs, strict=True))
        row([n, f"{ours:.0f}", f"{direct:.2f}", f"{ours / direct:.0f}"])


def moves_per_second(nodes: list[int], stages: int) -> None:
    """Print how many moves the local search judges per second."""
    families = ("layered", "experts", "random")
    table(["nodes", *(f"moves per second, {family}" for family in families)])
    for n in nodes:
        rates = []
        for family in families:
            problem = compile_problem(FAMILIES[family](n, 1), Machine(stages))
            start = search_orders(problem, 0, settings=OrderSearch(3, 0))
            settings = LocalSearch(moves=1_000_000)
            begin = time.perf_counter()
            found = search_locally(problem, lower_of(problem), start, settings)
            rates.append(found.evaluations / (time.perf_counter() - begin))
        row([n, *(f"{rate:,.0f}" for rate in rates)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("instances", nargs="*", type=Path)
    parser.add_argument("--stages", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--nodes", type=int, nargs="+", default=[200, 1000, 10_000])
    parts = ["evaluations", "time", "speed"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--synthetic", type=int, nargs="*", default=[], metavar="NODES")
    parser.add_argument(
        "--onnx", metavar="DEVICE", help="also the light ONNX models, on this device"
    )
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--without-constraints", action="store_true", help="ignore groups and pins")
    arguments = parser.parse_args()
    graphs = [load(path) for path in arguments.instances]
    if arguments.without_constraints:
        graphs = [graph.without_constraints() for graph in graphs]
    cases: list[Case] = [(graph, Machine) for graph in graphs]
    for n in arguments.synthetic:
        cases += [(FAMILIES[family](n, 1), Machine) for family in ("layered", "experts", "random")]
    if arguments.onnx:
        on_device = partial(machine_for, device=arguments.onnx)
        cases += [(read(p, device=arguments.onnx), on_device) for p in sorted(LIGHT.glob("*.onnx"))]
    header("Search")
    if cases and "evaluations" in arguments.parts:
        print("\nEqual evaluations\n")
        compare(dict(at_equal_evaluations()), cases, arguments.stages, arguments.rows)
    if cases and "time" in arguments.parts:
        print(f"\nEqual time, {arguments.seconds:g} s\n")
        methods = dict(at_equal_time(arguments.seconds))
        compare(methods, cases, arguments.stages, arguments.rows)
    if "speed" in arguments.parts:
        print("\nSpeed, k = 16\n")
        speed(arguments.nodes, 16, rounds=3)
        print("\nMoves of nodes, k = 16\n")
        moves_per_second(arguments.nodes, 16)


if __name__ == "__main__":
    main()
