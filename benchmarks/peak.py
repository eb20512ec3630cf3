# SPDX-License-Identifier: Apache-2.0
"""Peak memory of whole models: what the rules predict beside what onnxruntime allocates.

Every measurement is a process of its own in which benchmarks/live_bytes.cpp counts the bytes that are
allocated: no pages, no arena (it is switched off), only what tensors and kernels ask for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import header, row, table
from benchmarks.onnx_light import LIGHT

from stagewright.api import read
from stagewright.cost.profile import profile_onnx
from stagewright.machine import Machine
from stagewright.plans import Plan, evaluate_all
from stagewright.shaping.runtime_peak import runtime_peak

MODELS = "bvlc_alexnet,densenet121,inception_v1,inception_v2,resnet50,shufflenet,squeezenet,vgg19,zfnet512"
PROGRAM = """
import ctypes, sys, numpy as np, onnxruntime as ort
count = ctypes.CDLL(None)
count.live_bytes_now.restype = count.live_bytes_peak.restype = ctypes.c_long
options = ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 4
options.enable_cpu_mem_arena = options.enable_mem_pattern = False
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feeds = {i.name: np.zeros([d if isinstance(d, int) else 1 for d in i.shape], "float32") for i in session.get_inputs()}
session.run(None, feeds)
before = count.live_bytes_now()
count.live_bytes_mark()
session.run(None, feeds)
print(count.live_bytes_peak() - before)
"""


def build(folder: Path) -> Path:
    """Compile the counter."""
    library = folder / "live_bytes.so"
    source = Path(__file__).with_name("live_bytes.cpp")
    compiler = [os.environ.get("CXX", "c++"), "-O2", "-shared", "-fPIC", "-std=c++20"]
    subprocess.run([*compiler, str(source), "-o", str(library)], check=True)
    return library


def measured(model: Path, library: Path) -> int:
    """Return the most bytes that a run of the model allocates at once."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model)],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def predicted(model: Path) -> tuple[int, int]:
    """Return the peak of the contract, and that of the runtime's rules with the kernels it fused."""
    graph = read(model)
    order = tuple(graph.topological_order.tolist())
    (whole,) = evaluate_all(graph, Machine(1, bandwidth=1), Plan((order,)))
    fused = profile_onnx(model, warmup=0, repetitions=1).fused
    kernels = [[graph.index_of[name] for name in nodes] for nodes in fused]
    return whole.peak_bytes, runtime_peak(graph, kernels=kernels)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=MODELS)
    options = parser.parse_args()
    header("Peak memory, predicted and allocated")
    table(["model", "plan file's peak", "by the runtime's rules", "allocated", "error %"])
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        for name in options.models.split(","):
            model = LIGHT / f"light_{name}.onnx"
            contract, rules = predicted(model)
            found = measured(model, library)
            errors.append(100 * (rules / found - 1))
            row([name, contract, rules, found, f"{errors[-1]:+.2f}"])
    near = sum(abs(error) <= 10 for error in errors)
    print(
        f"\n{near} of {len(errors)} within 10 %; median error "
        f"{statistics.median(map(abs, errors)):.2f} %, largest {max(map(abs, errors)):.1f} %. Bytes; "
        "onnxruntime with all optimisations, one thread, arena off."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
