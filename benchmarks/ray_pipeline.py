# SPDX-License-Identifier: Apache-2.0
"""The same stages on three raylets and in local processes: throughput, and what a killed raylet costs.

A cluster of a head and four raylets of one core each (three that work, one to spare) runs on this machine, beside the
local engine; both are measured in turns on the same inputs.  Then a stream runs while the raylet of the middle
stage is killed, with its worker: items lost, repeated, changed or out of order, and the longest time between two results.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.common import header, row, table
from benchmarks.encoder import write_encoder

from stagewright import api
from stagewright.cost.profile import profile_onnx
from stagewright.runtime import Pipeline
from stagewright.runtime.inputs import random_inputs
from stagewright.runtime.ray_engine import ray_engine
from stagewright.runtime.stats import steady_intervals

STAGES = 3
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
    parser.add_argument("--layers", default="1,6", help="sizes of the encoder, in layers")
    options = parser.parse_args()
    header(f"Pipelines of {STAGES} stages: raylets against local processes, on this machine")
    with cluster() as made, tempfile.TemporaryDirectory() as folder:
        table(["layers", "round", "local items/s", "Ray items/s", "Ray/local", "outputs"])
        for layers in map(int, options.layers.split(",")):
            stages = Path(folder) / f"stages{layers}"
            split(Path(folder), stages, layers)
            compare(made, stages, layers, options)
        kill(made, stages, layers, 2 * options.items)
    return 0


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
            made.add_node(num_cpus=1, object_store_memory=MEMORY)
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


def compare(made: Any, stages: Path, layers: int, options: argparse.Namespace) -> None:
    with (
        Pipeline(stages, pin_cores=False) as local,
        Pipeline(stages, engine=ray_engine(made.address)) as remote,
    ):
        feeds = [random_inputs(local.manifest.inputs, seed) for seed in range(4)]
        same = all(
            np.array_equal(a[name], b[name])
            for a, b in zip(local.map(feeds), remote.map(feeds), strict=True)
            for name in a
        )
        for number in range(options.rounds):
            rates = [rate(pipeline, feeds, options.items) for pipeline in (local, remote)]
            row([layers, number, *(f"{r:.1f}" for r in rates), f"{rates[1] / rates[0]:.2f}",
                 "equal" if same else "NOT EQUAL"])  # fmt: skip


def rate(pipeline: Pipeline, feeds: list[dict[str, Any]], items: int) -> float:
    completed = [perf_counter() for _ in pipeline.map(islice(cycle(feeds), items))]
    intervals = steady_intervals(completed, STAGES)
    return len(intervals) / float(intervals.sum())


def kill(made: Any, stages: Path, layers: int, items: int) -> None:
    """Run numbered items, kill the raylet of the middle stage after a quarter, and look at what comes out."""
    import ray

    with Pipeline(stages, engine=ray_engine(made.address), restart=3) as pipeline:
        actor = pipeline._engine._actors[STAGES // 2]  # type: ignore[attr-defined]  # which to kill
        feeds = [random_inputs(pipeline.manifest.inputs, seed) for seed in range(items)]
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
    print()
    table(
        ["layers", "items", "lost", "repeated", "changed", "out of order", "longest pause s",
         "median period s", "elsewhere"]
    )  # fmt: skip
    row([layers, items, len(set(range(items)) - set(known)), len(known) - len(set(known)),
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
