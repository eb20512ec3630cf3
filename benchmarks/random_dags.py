# SPDX-License-Identifier: Apache-2.0
"""Write random DAGs of several topologies as graph files or as TensorFlow's CostGraphDef text."""

from __future__ import annotations

import argparse
from pathlib import Path

from stagewright.benching.random_dags import TOPOLOGIES, random_dag, random_dags
from stagewright.graph import CostGraph, GraphBuilder

__all__ = ["TOPOLOGIES", "random_dag", "random_dags", "sized", "write_set"]


def sized(graph: CostGraph) -> CostGraph:
    """Return the graph at a thousand times its costs, tensors in bytes at 1 GB/s.

    A CostGraphDef has sizes and whole microseconds only; the work of our random DAGs is a few of these.
    """
    builder = GraphBuilder(graph.name)
    for name, work in zip(graph.node_names, graph.work.tolist(), strict=True):
        builder.add_node(name, work=1000 * work)
    rows = zip(graph.tensor_producer.tolist(), graph.tensor_consumers.rows(), strict=True)
    for (producer, consumers), time in zip(rows, graph.tensor_time.tolist(), strict=True):
        builder.add_tensor(producer, consumers, nbytes=time)  # 1 GB/s: a byte takes 1000 ps
    return builder.build()


def write_set(folder: Path, count: int, seed: int, form: str) -> None:
    """Write `count` graphs as graph files, or as CostGraphDef text if `form` is ``pbtxt``."""
    from stagewright.readers.graph_writer import write_graph_file
    from stagewright.writers.cost_graph import write_cost_graph

    folder.mkdir(parents=True, exist_ok=True)
    for graph in random_dags(count, seed):
        if form == "graph":
            write_graph_file(graph, folder / f"{graph.name}.graph.json")
        else:
            write_cost_graph(sized(graph), folder / f"{graph.name}.pbtxt")


def main() -> None:
    """Write the set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--format", choices=("graph", "pbtxt"), default="graph", help="pbtxt: costs by 1 GB/s"
    )
    options = parser.parse_args()
    write_set(options.folder, options.count, options.seed, options.format)


if __name__ == "__main__":
    main()
