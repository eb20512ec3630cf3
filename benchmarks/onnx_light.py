# SPDX-License-Identifier: Apache-2.0
"""The nine light ONNX models that the onnx package brings, planned for catalogue devices."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import onnx
from benchmarks.common import Tally, header, row, table

from stagewright.api import machine_for, read
from stagewright.solve import Settings, solve

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", default="coral-edge-tpu,h100-sxm")
    parser.add_argument("--stages", default="2,4,8,16,32,64")
    parser.add_argument("--time-limit", type=float, default=60.0)
    options = parser.parse_args()
    header("Light ONNX models")
    table(
        [
            "model",
            "device",
            "k",
            "nodes",
            "reduced",
            "ideals",
            "upper us",
            "lower us",
            "gap %",
            "status",
            "seconds",
        ]
    )
    tally = Tally()
    for path in sorted(LIGHT.glob("light_*.onnx")):
        for device in options.devices.split(","):
            graph = read(path, device=device)
            for k in map(int, options.stages.split(",")):
                start = time.perf_counter()
                solution = solve(
                    graph, machine_for(k, device=device), Settings(time_limit=options.time_limit)
                )
                seconds = time.perf_counter() - start
                upper, lower = solution.bottleneck, solution.lower_bound
                tally.add(upper, lower, seconds)
                row(
                    [
                        path.stem.removeprefix("light_"),
                        device,
                        k,
                        solution.nodes,
                        solution.reduced_nodes,
                        solution.ideals or "-",
                        f"{upper / 1000000.0:.3f}",
                        f"{lower / 1000000.0:.3f}",
                        f"{100 * (upper / lower - 1):.3f}",
                        "optimal" if upper == lower else "bounded",
                        f"{seconds:.4f}",
                    ]
                )
    print(f"\n{tally}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
