# SPDX-License-Identifier: Apache-2.0
"""Published profiles in their own formats, on slow and fast links: every instance with its gap.

PipeDream's profiles (NASNet-A large, ResNet-50, GNMT) with data loading left out, the layers of a BERT of Piper, and GNMT's
layers of dnn-partitioning with their tensors in bytes; tensors cost bytes / bandwidth.

    python -m benchmarks.profiles                 about 15 minutes
    python -m benchmarks.profiles --only resnet50 --bandwidths 1GB/s
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

from benchmarks.common import INSTANCES, Tally, header, row, table

from stagewright.api import machine_for
from stagewright.readers import load
from stagewright.solve import Settings, solve

FILES = {
    "pipedream_nasnetalarge.graph.txt": {},
    "pipedream_resnet50.graph.txt": {},
    "pipedream_gnmt.graph.txt": {},
    "piper_bert32a100.json": {},
    "gnmt_inference_layer.json": {"edges": "bytes"},
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="parts of the files' names, by commas")
    parser.add_argument("--bandwidths", nargs="+", default=["1GB/s", "12.5GB/s"])
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64], metavar="K")
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    if not INSTANCES.exists():
        print(f"skipped: no instances at {INSTANCES}", file=sys.stderr)
        return 0
    header("Published profiles on slow and fast links")
    table(
        [
            *("profile", "bandwidth", "k", "nodes", "reduced", "ideals", "upper ms", "lower ms"),
            *("gap %", "lower bound by", "seconds"),
        ]
    )
    tally = Tally()
    for name, choices in FILES.items():
        if not any(part in name for part in options.only.split(",")):
            continue
        with warnings.catch_warnings():
            # Notes on what a format leaves out; the docstring says what is taken.
            warnings.simplefilter("ignore")
            graph = load(INSTANCES / "raw" / name, options=choices)
        settings = Settings(time_limit=options.time_limit, threads=options.threads)
        for bandwidth in options.bandwidths:
            for k in options.stages:
                start = time.perf_counter()
                found = solve(graph, machine_for(k, bandwidth=bandwidth), settings)
                seconds = time.perf_counter() - start
                upper, lower = found.bottleneck, found.lower_bound
                tally.add(upper, lower, seconds)
                best = next(bound for bound in found.bounds if bound.value == lower)
                row(
                    [
                        *(name.partition(".")[0], bandwidth, k, found.nodes, found.reduced_nodes),
                        *(found.ideals or "-", f"{upper / 1e9:.6f}", f"{lower / 1e9:.6f}"),
                        *(f"{100 * (upper / lower - 1):.3f}", best.method, f"{seconds:.3f}"),
                    ]
                )
    print(f"\n{tally}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
