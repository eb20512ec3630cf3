# SPDX-License-Identifier: Apache-2.0
"""The same stages on raylets and in local processes: throughput by channel, and what a killed raylet costs.

A cluster of a head and four raylets runs on this machine, beside the local engine.  Stages hand items on through
connections of their own or through Ray's objects; where every stage has one input also in a compiled graph of Ray
(where one has two, on different machines, nothing comes out).  All are measured in turns on the same inputs.  Then a stream
runs over each channel while the raylet of the middle stage is killed, with its worker: items lost,
repeated, changed or out of order, and the longest time between two results.  Last the process of a stage in a
compiled graph is killed, and the machines are counted that the cluster loses by it.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle, islice, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnx.parser
from benchmarks.common import header, row, table
from benchmarks.encoder import write_encoder
from benchmarks.ray_compiled import CompiledStages, first_outputs, kill_a_process

from stagewright import api
from stagewright.cost.profile import profile_onnx
from stagewright.errors import RunError
from stagewright.plans import Plan
from stagewright.runtime import Pipeline
from stagewright.runtime.inputs import random_inputs
from stagewright.runtime.ray_engine import RayChannel, ray_engine
from stagewright.runtime.stats import steady_intervals
from stagewright.splitting import split_onnx
from stagewright.splitting.manifest import Manifest

STAGES = 3
CHANNELS: tuple[RayChannel, ...] = ("sockets", "objects")
WAYS = (*CHANNELS, "compiled")
MEMORY = 200 * 2**20
# A dead raylet is noticed within a second; Ray's own settings suit slower networks.
# Ray lowers the priority of its workers: beside other load that would measure the other load.
SETTINGS = {
    "worker_niceness": 0,
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="own,compiled", help="our channels; compiled graphs")
    parser.add_argument("--floats", default="1000,100000", help="what stages of one operator send")
    parser.add_argument("--layers", default="1,6", help="sizes of the encoder, in layers")
    options = parser.parse_args()
    header(f"Pipelines of {STAGES} stages: raylets against local processes, on this machine")
    parts = options.parts.split(",")
    with tempfile.TemporaryDirectory() as name:
        if "own" in parts:
            own_channels(Path(name), options)
        if "compiled" in parts:
            compiled_graphs(Path(name), options)
    return 0


def own_channels(folder: Path, options: argparse.Namespace) -> None:
    """Compare rates, then kill a raylet amid a stream over each channel."""
    with cluster() as made:
        rates = [f"{name} items/s" for name in ("local", *WAYS)]
        table(["stages of", "round", *rates, *(f"{name}/local" for name in WAYS), "outputs"])
        for floats in map(int, options.floats.split(",")):
            chain = write_chain(folder / f"chain{floats}", floats)
            compare(made, chain, f"one operator, {4 * floats:,} bytes", options, compiled=True)
        for layers in map(int, options.layers.split(",")):
            stages = folder / f"stages{layers}"
            split(folder, stages, layers)
            compare(made, stages, f"an encoder, {layers} layers", options, compiled=False)
        print()
        table(
            ["channel", "layers", "items", "lost", "repeated", "changed", "out of order",
             "longest pause s", "median period s", "elsewhere"]
        )  # fmt: skip
        for channel in CHANNELS:
            kill(made, channel, stages, layers, 2 * options.items)
            made.add_node(num_cpus=STAGES, object_store_memory=MEMORY)


def compiled_graphs(folder: Path, options: argparse.Namespace) -> None:
    """Say what compiled graphs of Ray do with two readers of one input, and when a process is killed."""
    chain = write_chain(folder / "line", 100_000)
    with cluster():
        for _ in range(3):
            try:
                done, said, seconds, lost = kill_a_process(chain, inputs_of(chain, options.items))
            except RunError as fault:
                print(f"\nThe next graph on that cluster: {fault}", flush=True)
                break
            print(
                f"\nA process of a compiled graph killed: {done} of {options.items} items came out, "
                f"{said} after {seconds:.1f} s, and the cluster lost {lost} of {STAGES + 2} machines.",
                flush=True,
            )
            if lost:
                break
    forked = write_chain(folder / "forked", 100_000, forked=True)
    with cluster():
        print("\nA compiled graph whose input two stages read:", flush=True, end=" ")
        print(first_outputs(forked, inputs_of(forked, 4)))


@contextmanager
def cluster() -> Iterator[Any]:
    """Start a head and the raylets; end them all."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", "")])
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": MEMORY,
            "include_dashboard": False,
            "_system_config": SETTINGS,
        },
    )
    try:
        for _ in range(STAGES + 1):
            made.add_node(num_cpus=STAGES, object_store_memory=MEMORY)
        made.wait_for_nodes()
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def split(folder: Path, stages: Path, layers: int) -> None:
    model = folder / f"encoder{layers}.onnx"
    write_encoder(model, layers=layers)
    profile_onnx(model).save(folder / "profile.json")
    graph = api.read(model, profile=folder / "profile.json")
    result = api.plan(graph, STAGES, link="shared-memory")
    api.split(model, result, stages)


def write_chain(folder: Path, floats: int, *, forked: bool = False) -> Path:
    """Write three stages of one operator; `forked`: the model's input goes to two of them."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        chain (float[1, {floats}] x) => (float[1, {floats}] y) {{
            [a] p = Relu(x)
            [b] q = {"Add(p, x)" if forked else "Neg(p)"}
            [c] y = Abs(q)
        }}"""
    )
    folder.mkdir()
    onnx.save(model, folder / "chain.onnx")
    graph = api.read(folder / "chain.onnx", device="cpu-core")
    # Each node in a stage of its own, whatever it would cost.
    plan = Plan(tuple((node,) for node in range(graph.num_nodes)))
    split_onnx(folder / "chain.onnx", graph, plan, folder / "stages", document=None)
    return folder / "stages"


def compare(
    made: Any, stages: Path, name: str, options: argparse.Namespace, *, compiled: bool
) -> None:
    with ExitStack() as stack:
        ways: list[Any] = [stack.enter_context(Pipeline(stages, pin_cores=False))]
        for channel in CHANNELS:
            engine = ray_engine(made.address, channel=channel)
            ways.append(stack.enter_context(Pipeline(stages, engine=engine)))
        if compiled:
            ways.append(stack.enter_context(closing(CompiledStages(stages))))
        feeds = inputs_of(stages, 4)
        wanted, *others = [list(way.map(feeds)) for way in ways]
        same = all(
            np.array_equal(a[name], b[name])
            for other in others
            for a, b in zip(wanted, other, strict=True)
            for name in a
        )
        for number in range(options.rounds):
            rates = [rate(way, feeds, options.items) for way in ways]
            cells = [f"{r:.1f}" for r in rates] + [f"{r / rates[0]:.2f}" for r in rates[1:]]
            if not compiled:
                cells[len(rates) : len(rates)] = "-"
                cells.append("-")
            row([name, number, *cells, "equal" if same else "NOT EQUAL"])


def inputs_of(stages: Path, count: int) -> list[dict[str, Any]]:
    manifest = Manifest.load(stages)
    return [random_inputs(manifest.inputs, seed) for seed in range(count)]


def rate(pipeline: Any, feeds: list[dict[str, Any]], items: int) -> float:
    completed = [perf_counter() for _ in pipeline.map(islice(cycle(feeds), items))]
    intervals = steady_intervals(completed, STAGES)
    return len(intervals) / float(intervals.sum())


def kill(made: Any, channel: RayChannel, stages: Path, layers: int, items: int) -> None:
    """Run numbered items, kill the raylet of the middle stage after a quarter, and look at what comes out."""
    import ray

    with Pipeline(stages, engine=ray_engine(made.address, channel=channel), restart=3) as pipeline:
        actor = pipeline._engine._actors[STAGES // 2]  # type: ignore[attr-defined]  # which to kill
        feeds = inputs_of(stages, items)
        expected = list(pipeline.map(feeds))
        node, worker = ray.get(actor.__ray_call__.remote(_where))
        (raylet,) = (n for n in made.worker_nodes if n.node_id == node)
        got, completed = [], []
        for number, outputs in enumerate(pipeline.map(feeds)):
            completed.append(perf_counter())
            got.append(outputs)
            if number == items // 4:
                os.kill(worker, signal.SIGKILL)
                made.remove_node(raylet, allow_graceful=False)
        moved = ray.get(actor.__ray_call__.remote(_where))[0] != node
    places = [place_of(outputs, expected, at) for at, outputs in enumerate(got)]
    known = [place for place in places if place is not None]
    pauses = np.diff(completed)
    row([channel, layers, items, len(set(range(items)) - set(known)), len(known) - len(set(known)),
         places.count(None), sum(a > b for a, b in pairwise(known)),
         f"{pauses.max():.2f}", f"{np.median(pauses):.4f}", "yes" if moved else "no"])  # fmt: skip


def place_of(outputs: dict[str, Any], expected: list[dict[str, Any]], at: int) -> int | None:
    """Return which item's outputs these are, bit by bit; its own place is tried first."""
    for place in (at, *range(len(expected))):
        if place < len(expected) and all(
            np.array_equal(outputs[name], expected[place][name]) for name in outputs
        ):
            return place
    return None


def _where(_: Any) -> tuple[str, int]:
    import ray

    return str(ray.get_runtime_context().get_node_id()), os.getpid()


if __name__ == "__main__":
    raise SystemExit(main())
