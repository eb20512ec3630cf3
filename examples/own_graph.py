# SPDX-License-Identifier: Apache-2.0
"""A cost graph of your own: no model file needed, any program with stages will do.

python examples/own_graph.py
"""

from __future__ import annotations

import stagewright as sw

MS = 10**9  # picoseconds, in which work is given
LAYERS = 12


def camera_pipeline() -> sw.CostGraph:
    """Return a video network: two branches per frame that meet, then a stack of layers."""
    builder = sw.GraphBuilder("camera")
    decode = builder.add_node("decode", work=2 * MS)
    colour = builder.add_node("colour", work=3 * MS)
    motion = builder.add_node("motion", work=4 * MS)
    merge = builder.add_node("merge", work=1 * MS)
    # A tensor has one producer and any number of consumers. A stage that sends or receives it pays once.
    builder.add_tensor(decode, [colour, motion], nbytes=6_000_000)
    builder.add_tensor(colour, [merge], nbytes=2_000_000)
    builder.add_tensor(motion, [merge], nbytes=500_000)
    last = merge
    for number in range(LAYERS):
        layer = builder.add_node(f"layer{number}", work=(3 + number % 4) * MS)
        builder.add_tensor(last, [layer], nbytes=1_000_000)
        # Parameters count against a device's memory; two users of one share it where they share a stage.
        builder.add_param(20_000_000, [layer])
        last = layer
    return builder.build()


def main() -> None:
    """Plan for four devices, then for as many as a rate takes."""
    graph = camera_pipeline()
    result = sw.plan(graph, stages=4, bandwidth="1GB/s", latency="20us")
    print(f"4 devices: {1 / result.bottleneck:.1f} frames/s, {result.status}")

    # How many devices do 60 frames per second take? One sweep answers, and proves that fewer cannot do.
    found = sw.sweep(graph, "1..12", bandwidth="1GB/s", latency="20us", target_rate=60)
    for point, good in zip(found.points, found.pareto, strict=True):
        rate = 1e12 / (point.period or 1)
        mark = "*" if good else " "
        print(f" {mark} {point.machine.stages:2} devices, {point.devices:2} used: {rate:6.1f}/s")
    ((point, answer),) = found.devices_for(60)
    print(f"60 frames/s take {answer.devices} devices; proven to be the fewest: {answer.proven}")

    # A point is a plan like any other.
    stages = found.result(point).plan.stages
    print("its stages:", [[graph.node_names[v] for v in nodes] for nodes in stages])


if __name__ == "__main__":
    main()
