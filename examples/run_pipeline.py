# SPDX-License-Identifier: Apache-2.0
"""Measure a model on this machine, cut it in two, run the stages side by side, compare.

pip install 'stagewright[run]'
python examples/run_pipeline.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import stagewright as sw

WIDTH, LAYERS, BATCH = 512, 8, 64


def write_model(path: Path) -> None:
    """Write a stack of dense layers with random weights."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for i in range(LAYERS):
        matrix = rng.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)
        weights.append(numpy_helper.from_array(matrix, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"], name=f"dense{i}"))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"], name=f"relu{i}"))
        last = f"r{i}"
    shape = [BATCH, WIDTH]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", last)]
    graph = helper.make_graph(nodes, "dense", ends[:1], ends[1:], weights)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))


def main() -> None:
    """Measure, plan, split, run, compare."""
    with tempfile.TemporaryDirectory() as folder:
        model, stages = Path(folder) / "dense.onnx", Path(folder) / "stages"
        write_model(model)

        # How long does each node take here? On an idle machine the numbers are good to a few per cent.
        sw.profile(model, threads=1, repetitions=20).save(Path(folder) / "profile.json")
        graph = sw.read(model, profile=Path(folder) / "profile.json")
        result = sw.plan(graph, stages=2, link="shared-memory")
        print(f"predicted: {result.bottleneck * 1e3:.3f} ms per inference ({result.status})")

        # One model file per stage, and a manifest.
        sw.split(model, result, stages)
        print("wrote", *sorted(path.name for path in stages.iterdir()))

        # A process per stage; tensors go through shared memory. Results come in order.
        inputs = [{"x": np.full((BATCH, WIDTH), i, np.float32)} for i in range(5)]
        with sw.Pipeline(stages) as pipeline:
            sums = [
                round(float(sum(y.sum() for y in out.values()))) for out in pipeline.map(inputs)
            ]
        print("results in order:", sums == sorted(sums))

        # The same against the unsplit model: times, and whether the outputs are equal.
        report = sw.run(stages, model=model, batches=20)
        measured = report.to_json()
        print(f"measured: {float(measured['period'] or 0) * 1e3:.3f} ms per inference")
        print("outputs equal to the unsplit model's:", measured["outputs_equal"])


if __name__ == "__main__":
    main()
