# SPDX-License-Identifier: Apache-2.0
"""Plans for mixed clusters, beside the splits that people make by hand.

The first table plans published profiles for two hosts of two GPUs each and a third with a slower GPU and a CPU, fast
links inside a host and a slow one between hosts.  Plans in that order and in any order (every stage then pays
the slow link) stand beside two splits of the graph's own order along the hosts: into equal parts of the work, and into
parts proportional to the speed of the devices.

The second plans Llama and ResNet-50, with work from data sheets, for the cluster of ``examples/cluster.toml``: two H100
and two A100, four L4 and a CPU in three hosts.  Its splits are by layers along the hosts: as many layers on every GPU
(the CPU is left out), and numbers of layers proportional to the speed of all devices.  `bound` is the proven lower bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.common import INSTANCES, header, row, table
from benchmarks.testbed.language import llama

from stagewright.benching.packs import graph_of_line, lines_of_pack
from stagewright.errors import InputError
from stagewright.graph import CostGraph
from stagewright.machine import Machine
from stagewright.placement.devices import Fleet, Kind, Link
from stagewright.placement.fleet_file import read_fleet
from stagewright.placement.method import solve_placed
from stagewright.placement.workload import PlacedPlan, Workload, evaluate
from stagewright.placing import PlacedResult
from stagewright.problem import compile_problem
from stagewright.readers import load
from stagewright.shaping.shape import shape

HOSTS = (("fast", "fast"), ("slow", "slow"), ("slow", "cpu"))
SPEED = {"fast": Fraction(1), "slow": Fraction(2, 5), "cpu": Fraction(1, 12)}
PROFILES = ("pipedream_resnet50.graph.txt", "pipedream_gnmt.graph.txt", "piper_bert32a100.json")

MACHINE = Path(__file__).resolve().parents[1] / "examples" / "cluster.toml"
_PACK = Path(__file__).parent / "testbed" / "graphs" / "vision.jsonl.xz"
_CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
LLAMA = {
    "llama-8b": llama(32, 4096, 14336, 32, 8, vocab_size=128256),
    "llama-70b": llama(80, 8192, 28672, 64, 8, vocab_size=128256),
}
PHASES: dict[str, dict[str, Any]] = {
    "prefill": {"batch": 1, "sequence": 2048, "phase": "prefill"},
    "decode": {"batch": 8, "phase": "decode", "cache": 4096},
}
"""One text of 2,048 tokens, and one step of eight texts with 4,096 tokens behind them."""
MODELS = (
    ("llama-8b prefill", "layer"),
    ("llama-8b decode", "layer"),
    ("llama-70b prefill", "layer"),
    ("llama-70b decode", "layer"),
    ("llama-70b decode", "op"),
    ("resnet-50 b32", "layer"),
    ("resnet-50 b32", "op"),
)
_CHECK = {0: "all verified", 1: "INVALID", 3: "proof not redone"}


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-limit", type=float, default=30.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if INSTANCES.exists():
        mixed(options.time_limit)
    else:
        print(f"skipped: no instances at {INSTANCES}", file=sys.stderr)
    return models(options.time_limit)


def cluster(workload: Workload, *, fixed: bool) -> Fleet:
    """Return the cluster of the first table, in the order of its hosts or in any order."""
    inside, between = Link(50 * 10**9, 2 * 10**6), Link(3 * 10**9, 10 * 10**6)
    names = [name for host in HOSTS for name in host]
    work = workload.graph.work.tolist()
    kinds = []
    for name, speed in SPEED.items():
        row = tuple(-(-w * speed.denominator // speed.numerator) for w in work)
        kinds.append(Kind(name, names.count(name), between, row))
    if not fixed:
        return Fleet(tuple(kinds))
    order = tuple(list(SPEED).index(name) for name in names)
    host = [h for h, row in enumerate(HOSTS) for _ in row]
    links = tuple(inside if a == b else between for a, b in pairwise(host))
    return Fleet(tuple(kinds), order, links)


def units(graph: CostGraph) -> list[list[int]]:
    """Return what is never cut apart, in an order in which it can run."""
    problem = compile_problem(graph, Machine(1, bandwidth=10**12))
    return [list(problem.members[i]) for i in problem.order.tolist()]


def split(
    workload: Workload, fleet: Fleet, weights: Sequence[int], shares: Sequence[Fraction]
) -> list[int]:
    """Return the cost of every place where the units are cut so that weights of nodes reach the shares of places.

    Raises
    ------
    InputError
        If a stage does not fit its device.
    """
    ends = [sum(shares[: i + 1]) / sum(shares) * sum(weights) for i in range(len(shares))]
    stages: list[list[int]] = [[] for _ in shares]
    done, place = Fraction(0), 0
    for nodes in units(workload.graph):
        weight = sum(weights[v] for v in nodes)
        if weight:  # what weighs nothing stays with what came before
            place = next((i for i, end in enumerate(ends) if done + Fraction(weight, 2) <= end), -1)
        stages[place] += nodes
        done += weight
    used = [i for i, nodes in enumerate(stages) if nodes]
    plan = PlacedPlan(tuple(tuple(stages[i]) for i in used), tuple(used))
    costs = dict(zip(used, evaluate(workload, fleet, plan), strict=True))
    return [costs[i].total if i in costs else 0 for i in range(len(shares))]


def mixed(limit: float) -> None:
    """Print plans of published profiles."""
    header("A mixed cluster")
    columns = (
        "profile|nodes|order|period ms|status|ideals|seconds|check|equal split ms|proportional ms"
    )
    table([*columns.split("|"), "gain over the better"])
    for name in PROFILES:
        workload = Workload(load(INSTANCES / "raw" / name))
        fixed = cluster(workload, fixed=True)
        work = workload.graph.work.tolist()
        names = [host for row in HOSTS for host in row]
        equal = max(split(workload, fixed, work, [Fraction(1)] * len(names)))
        proportional = max(split(workload, fixed, work, [SPEED[device] for device in names]))
        for fleet in (fixed, cluster(workload, fixed=False)):
            found = solve_placed(workload, fleet, time_limit=limit)
            report = PlacedResult(workload, fleet, found, 0).check(20.0)
            proven = found.bottleneck == found.lower_bound
            row(
                [
                    name.partition(".")[0],
                    workload.graph.num_nodes,
                    "any" if fleet.order is None else "hosts",
                    f"{found.bottleneck / 1e9:.3f}",
                    "optimal" if proven else f"{found.lower_bound / found.bottleneck:.3f}",
                    found.ideals or "-",
                    f"{found.seconds:.3f}",
                    _CHECK[report.exit_code],
                    f"{equal / 1e9:.3f}",
                    f"{proportional / 1e9:.3f}",
                    f"{min(equal, proportional) / found.bottleneck:.2f}" if fleet is fixed else "-",
                ]
            )


@cache
def model(name: str) -> CostGraph:
    """Return a model of the second table; Llama is traced from its configuration, which takes seconds.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if name not in {f"{size} {phase}" for size in LLAMA for phase in PHASES}:
        entry = f"vision/{name.replace(' ', '/')}"
        return graph_of_line(lines_of_pack(_PACK)[entry], str(_PACK))
    from stagewright.readers.hf_model import read_config

    size, phase = name.split()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(_CONFIG | LLAMA[size]))
        return read_config(folder, **PHASES[phase])


def by_hand(graph: CostGraph) -> dict[str, list[int]]:
    """Return the cost of every place of the cluster under both splits by layers; empty where one does not fit."""
    workload = Workload(shape(graph, "layer", None))
    fleet = read_fleet(MACHINE, workload)
    order = fleet.order or ()
    group = workload.graph.group.tolist()
    layers = [int(g >= 0 and g not in group[:v]) for v, g in enumerate(group)]
    gpus = [Fraction(fleet.kinds[q].name != "cpu") for q in order]
    speeds = [Fraction(1, sum(workload.work_on(fleet, q))) for q in order]
    found = {}
    for name, shares in (("equal", gpus), ("proportional", speeds)):
        try:
            found[name] = split(workload, fleet, layers, shares)
        except InputError as error:
            print(f"{graph.name} {name}: {error}", file=sys.stderr)
            found[name] = []
    return found


def models(limit: float) -> int:
    """Print plans of models for the cluster of the examples; return how many plans the checker refuses."""
    header("A mixed cluster: two H100, two A100, four L4, a CPU")
    columns = (
        "model|cuts between|order|units|period ms|bound ms|bound / period|seconds|check|stages on"
    )
    table([*columns.split("|"), "equal layers ms", "proportional ms", "gain over the better"])
    wrong = 0
    for name, level in MODELS:
        if name.startswith("llama") and not (find_spec("transformers") and find_spec("torch")):
            print(f"skipped {name}: no transformers and torch", file=sys.stderr)
            continue
        graph = model(name)
        hand = by_hand(graph)
        workload = Workload(graph if level == "op" else shape(graph, level, None))
        fixed = read_fleet(MACHINE, workload)
        for fleet in (fixed, replace(fixed, order=None, links=None)):
            found = solve_placed(workload, fleet, time_limit=limit)
            report = PlacedResult(workload, fleet, found, 0).check(20.0)
            wrong += not report.valid
            best = min((max(costs) for costs in hand.values() if costs), default=0)
            row(
                [
                    name,
                    "layers" if level == "layer" else "operators",
                    "any" if fleet.order is None else "hosts",
                    found.classes,
                    f"{found.bottleneck / 1e9:.3f}",
                    f"{found.lower_bound / 1e9:.3f}",
                    f"{found.lower_bound * 1000 // found.bottleneck / 1000:.3f}",
                    f"{found.seconds:.2f}",
                    _CHECK[report.exit_code],
                    _places(fleet, found.plan),
                    *(
                        f"{max(costs) / 1e9:.3f}" if costs else "does not fit"
                        for costs in hand.values()
                    ),
                    f"{best / found.bottleneck:.2f}" if best and fleet is fixed else "-",
                ]
            )
    return wrong


def _places(fleet: Fleet, plan: PlacedPlan) -> str:
    """Say which devices the stages run on, along the pipeline: ``2 h100, 4 l4``."""
    runs: list[list[str]] = []
    for place in plan.devices:
        name = fleet.kinds[fleet.seat_at(place).kind].name
        if runs and runs[-1][0] == name:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(f"{len(run)} {run[0]}" for run in runs)


if __name__ == "__main__":
    sys.exit(main())
