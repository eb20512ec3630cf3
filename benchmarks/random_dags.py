# SPDX-License-Identifier: Apache-2.0
"""Write random DAGs of several topologies as graph files or as TensorFlow's CostGraphDef text."""

from __future__ import annotations

import argparse
from pathlib import Path

from stagewright.benching.random_dags import TOPOLOGIES, random_dag, random_dags

__all__ = ["TOPOLOGIES", "random_dag", "random_dags"]


def main() -> None:
    """Write the set."""
    from stagewright.readers.graph_writer import write_graph_file
    from stagewright.writers.cost_graph import write_cost_graph

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=("graph", "pbtxt"), default="graph")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for graph in random_dags(options.count, options.seed):
        if options.format == "graph":
            write_graph_file(graph, options.folder / f"{graph.name}.graph.json")
        else:
            write_cost_graph(graph, options.folder / f"{graph.name}.pbtxt")


if __name__ == "__main__":
    main()
