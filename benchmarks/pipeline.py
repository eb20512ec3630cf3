# SPDX-License-Identifier: Apache-2.0
"""Two stages on two cores: predicted against measured period, and speed-up over the unsplit model.

Each model is profiled, planned, split and run in one go; the pipeline and the unsplit model (one thread,
two threads) are measured in turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import onnx
from benchmarks.common import header, row, table

from stagewright import api
from stagewright.cost.profile import profile_onnx

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models", default="resnet50,densenet121,inception_v1,squeezenet,shufflenet"
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
        ]
    )
    for name in options.models.split(","):
        for number in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                run_one(LIGHT / f"light_{name}.onnx", number, Path(folder), options.items)
    return 0


def run_one(model: Path, number: int, folder: Path, items: int) -> None:
    profile_onnx(model).save(folder / "profile.json")
    graph = api.read(model, profile=folder / "profile.json")
    result = api.plan(graph, 2, link="shared-memory")
    api.split(model, result, folder / "stages")
    report = api.run(folder / "stages", batches=items)
    whole = {w.threads: w.speedup for w in report.whole}
    period, predicted = report.period or 0.0, report.predicted_period or 0.0
    row(
        [
            model.stem.removeprefix("light_"),
            number,
            "equal" if report.outputs_equal else "DIFFER",
            f"{predicted * 1000.0:.2f}",
            f"{period * 1000.0:.2f}",
            f"{period / predicted:.3f}",
            f"{whole[1]:.2f}",
            f"{whole[2]:.2f}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
