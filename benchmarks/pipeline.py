# SPDX-License-Identifier: Apache-2.0
"""Two stages on two cores: predicted against measured period, and throughput against the unsplit model.

Each model is profiled, planned, split and run in one go; the pipeline, the unsplit model (one thread, two
threads) and two whole copies of it in processes of their own are measured in turns (copies before and after).  Copies are
one thread each, fed through the same rings, each with its own stream of requests, as servers do that give every request
to one process.  The two-stage pipeline's ideal is twice the rate of one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import onnx
from benchmarks.common import header, row, table
from benchmarks.encoder import write_encoder

from stagewright import api
from stagewright.cost.profile import profile_onnx
from stagewright.runtime import Pipeline
from stagewright.runtime.inputs import random_inputs

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models",
        default="encoder,resnet50,densenet121,inception_v1,squeezenet,shufflenet",
        help="light models of onnx, and 'encoder': eight equal layers",
    )
    parser.add_argument("--items", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    header("Pipelines of two stages on this machine")
    table(
        [
            "model",
            "round",
            "outputs",
            "predicted ms",
            "measured ms",
            "measured/predicted",
            "over 1 thread",
            "over 2 threads",
            "over 2 copies",
            "2 copies over 1 thread",
        ]
    )
    for name in options.models.split(","):
        for number in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                model = LIGHT / f"light_{name}.onnx"
                if name == "encoder":
                    model = Path(folder) / "encoder.onnx"
                    write_encoder(model, layers=8)
                run_one(name, model, number, Path(folder), options.items)
    return 0


def run_one(name: str, model: Path, number: int, folder: Path, items: int) -> None:
    profile_onnx(model).save(folder / "profile.json")
    graph = api.read(model, profile=folder / "profile.json")
    result = api.plan(graph, 2, link="shared-memory")
    api.split(model, result, folder / "stages")
    api.split(model, api.plan(graph, 1, link="shared-memory"), folder / "whole")
    with ExitStack() as stack:
        whole = [stack.enter_context(_copy(folder / "whole", core)) for core in _two_cores()]
        feeds = [random_inputs(whole[0].manifest.inputs, seed) for seed in range(4)]
        _rate_of(whole, feeds, 5)
        before = _rate_of(whole, feeds, items // 2)
        report = api.run(folder / "stages", batches=items)
        rate = (before + _rate_of(whole, feeds, items // 2)) / 2
    period, predicted = report.period or float("nan"), report.predicted_period or float("nan")
    single, double = ({w.threads: w.period for w in report.whole}[n] for n in (1, 2))
    row(
        [
            name,
            number,
            "equal" if report.outputs_equal else "DIFFER",
            f"{predicted * 1000.0:.2f}",
            f"{period * 1000.0:.2f}",
            f"{period / predicted:.3f}",
            f"{single / period:.2f}",
            f"{double / period:.2f}",
            f"{1 / (period * rate):.2f}",
            f"{rate * single:.2f}",
        ]
    )


def _two_cores() -> Sequence[set[int] | None]:
    """Return a core for each copy, where the system lets them be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, {cores[1 % len(cores)]}


def _copy(folder: Path, core: set[int] | None) -> Pipeline:
    """Start a pipeline of one stage, in a process of its own, on one core."""
    if core is None:
        return Pipeline(folder, pin_cores=False)
    free = os.sched_getaffinity(0)
    os.sched_setaffinity(0, core)  # which the process it starts inherits
    try:
        return Pipeline(folder, pin_cores=False)
    finally:
        os.sched_setaffinity(0, free)


def _rate_of(copies: Sequence[Pipeline], feeds: Sequence[Mapping[str, Any]], items: int) -> float:
    """Return the results per second of all copies together, each busy with so many items."""
    rates = [0.0] * len(copies)
    begin = threading.Barrier(len(copies))

    def serve(number: int) -> None:
        begin.wait()
        start = perf_counter()
        for _ in copies[number].map(islice(cycle(feeds), items)):
            pass
        rates[number] = items / (perf_counter() - start)

    threads = [threading.Thread(target=serve, args=(n,)) for n in range(len(copies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


if __name__ == "__main__":
    sys.exit(main())
