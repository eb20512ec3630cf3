# SPDX-License-Identifier: Apache-2.0
"""A first plan: cut SqueezeNet for four Edge TPUs, look at the proof, let it be checked.

python examples/first_plan.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

import stagewright as sw

# The onnx package carries small copies of real networks for its own tests. Any other ONNX file will do.
MODEL = Path(onnx.__file__).parent / "backend/test/data/light/light_squeezenet.onnx"


def main() -> None:
    """Read, plan, check, save."""
    # A graph has the work of every node in seconds and the size of every tensor in bytes. Here the work is
    # estimated from the device's data sheet; `sw.profile` would measure it.
    graph = sw.read(MODEL, device="coral-edge-tpu")
    print(f"{graph.name}: {graph.num_nodes} nodes, {graph.total_work / 1e9:.2f} ms of work")

    # The device brings its memory and its link. What does not fit into memory is streamed, for a price.
    result = sw.plan(graph, stages=4, device="coral-edge-tpu", time_limit=10)

    # The bottleneck is the time of the slowest stage: one result leaves the pipeline in every bottleneck.
    print(f"bottleneck {result.bottleneck * 1e3:.3f} ms, {1 / result.bottleneck:.0f} inferences/s")

    # No plan at all has a bottleneck below the lower bound. A gap of 0 means that this one is optimal.
    print(f"lower bound {result.lower_bound * 1e3:.3f} ms, gap {result.gap}: {result.status}")
    for number, nodes in enumerate(result.plan.stages):
        first, last = graph.node_names[nodes[0]], graph.node_names[nodes[-1]]
        print(f"  stage {number}: {len(nodes)} nodes, {first} .. {last}")

    # The checker shares no code with the solver. It recomputes the plan and redoes the proof.
    report = sw.check(result.graph, result)
    print("checked:", "valid" if report.valid else report.problems)

    with tempfile.TemporaryDirectory() as folder:
        result.save(
            Path(folder) / "plan.json"
        )  # what `stagewright check`, `split` and `report` take
        result.report(Path(folder) / "page.html")  # a page to look at
        print("wrote", *sorted(path.name for path in Path(folder).iterdir()))


if __name__ == "__main__":
    main()
