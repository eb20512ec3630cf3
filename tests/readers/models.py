# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models for the readers' tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stagewright.graph import CostGraph
from stagewright.readers.onnx_model import read_onnx

FLOAT, INT64, INT8, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.INT8,
    TensorProto.UINT8,
)
MS = "com.microsoft"


def info(name: str, dims: Sequence[int | str] | None, elem: int = FLOAT) -> Any:
    """Return a typed and shaped value."""
    return helper.make_tensor_value_info(name, elem, dims)


def constant(name: str, values: Any, dtype: Any = np.int64) -> Any:
    """Return an initialiser with the given content."""
    return numpy_helper.from_array(np.array(values, dtype), name)


def weight(name: str, dims: Sequence[int], elem: int = FLOAT) -> Any:
    """Return an initialiser of some size without data."""
    return TensorProto(name=name, dims=dims, data_type=elem)


def make_model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any] = (),
    initializer: Sequence[Any] = (),
    *,
    opset: int = 21,
    ir_version: int = 10,
    **extra: Any,
) -> Any:
    """Return a model; the outputs default to those of the last node, untyped."""
    made = list(outputs) or [onnx.ValueInfoProto(name=o) for o in nodes[-1].output if o]
    functions = extra.pop("functions", ())
    graph = helper.make_graph(nodes, "model", inputs, made, initializer, **extra)
    domains = {"": opset, MS: 1, "local": 1}
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(d, v) for d, v in domains.items()],
        functions=functions,
        ir_version=ir_version,
    )


def save(model: Any, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model and return its path."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def one_node(
    folder: Path,
    op: str,
    inputs: Sequence[Any],
    *,
    outputs: int = 1,
    domain: str = "",
    opset: int = 21,
    attributes: Mapping[str, Any] | None = None,
) -> CostGraph:
    """Read a model of one node.

    An input is a shape (float), a pair of shape and element type, an array (an initialiser with
    that content) or None (left out).
    """
    names, infos, initial = [], [], []
    for i, given in enumerate(inputs):
        name = f"i{i}"
        names.append("" if given is None else name)
        if isinstance(given, (np.ndarray, np.generic)):
            initial.append(numpy_helper.from_array(np.asarray(given), name))
        elif isinstance(given, tuple) and given and isinstance(given[0], (tuple, list)):
            infos.append(info(name, given[0], given[1]))
        elif given is not None:
            infos.append(info(name, given))
    made = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, "node", domain=domain, **(attributes or {}))
    model = make_model([node], infos, [], initial, opset=opset)
    return read_onnx(save(model, folder))
