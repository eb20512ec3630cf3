# SPDX-License-Identifier: Apache-2.0
"""Giving a graph the work of a profile, once it is known to be of the same model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, ModelError

if TYPE_CHECKING:
    from ..graph import CostGraph
    from .profile_file import Profile

__all__ = ["apply_profile", "graph_sha256", "model_sha256"]


def apply_profile(graph: CostGraph, profile: Profile, *, model: object = None) -> CostGraph:
    """Return the graph with the measured median times as work.

    Parameters
    ----------
    graph
        Graph of the model that was measured.
    profile
        The measurements.
    model
        What `graph` was read from; a file must be the one that was measured.  Where PyTorch
        measured, names, types, operations and bytes of the nodes must be those that were measured.

    Raises
    ------
    InputError
        If the profile is of another model: by its hash, or because it lacks nodes of the graph.
    """
    by_graph = profile.runtime.startswith("torch ")
    as_read = ", as it is read here" if by_graph else ""
    remedy = f"Measure this model{as_read}: stagewright profile MODEL -o profile.json."
    found = None
    if by_graph:
        found = graph_sha256(graph)
    elif isinstance(model, (str, Path)):
        found = model_sha256(Path(model))
    if found not in (None, profile.model_sha256):
        thing = "nodes" if by_graph else "file"
        raise InputError(
            f"profile for {model if isinstance(model, (str, Path)) else graph.name}",
            f"one of the {thing} with SHA-256 {str(found)[:12]}...",
            f"one of {profile.model_sha256[:12]}...",
            remedy,
        )
    missing = [name for name in graph.node_names if name not in profile.nodes]
    if missing:
        raise InputError(
            f"profile for graph '{graph.name}'",
            f"times for all {graph.num_nodes} nodes",
            f"none for {len(missing)} of them, first '{missing[0]}'",
            remedy,
        )
    return graph.replace(
        work=[profile.nodes[name].median for name in graph.node_names],
        node_sources=("measured",) * graph.num_nodes,
    )


def model_sha256(path: Path) -> str:
    """Return the SHA-256 of a model file (not of weights stored beside it)."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(str(path), "a readable file", error.strerror or str(error)) from None


def graph_sha256(graph: CostGraph) -> str:
    """Return a SHA-256 of the nodes of a graph: what tells apart the programs that one module makes.

    Batch, lengths and element types change operations and bytes and with them the result; work does not.
    """
    rows = zip(
        graph.node_names,
        graph.node_ops,
        graph.node_dtypes,
        graph.flops.tolist(),
        graph.nbytes.tolist(),
        strict=True,
    )
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()
