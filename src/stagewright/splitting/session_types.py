# SPDX-License-Identifier: Apache-2.0
"""Types of tensors behind operators that only onnxruntime knows, asked from onnxruntime itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["session_types"]


def session_types(
    slim: onnx.ModelProto, names: Sequence[str]
) -> dict[str, tuple[ir.TensorType, ir.Shape | None]]:
    """Return type and shape of those of the named tensors that onnxruntime can type.

    Parameters
    ----------
    slim
        The model with stubs (external data without a file) for large weights; it is changed.  They
        become inputs here, so nothing is read.
    names
        Tensors of the main graph.
    """
    import onnx
    import onnx_ir as ir

    from ..cost.ort_session import PROVIDERS, onnxruntime, session_options

    graph = slim.graph
    stubs = [t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    listed = {value.name for value in graph.input}
    for stub in stubs:
        if stub.name not in listed:
            graph.input.append(
                onnx.helper.make_tensor_value_info(stub.name, stub.data_type, stub.dims)
            )
        graph.initializer.remove(stub)
    given = {value.name for value in graph.output}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    try:
        ort = onnxruntime("Typing a model")
        options = session_options(level="disabled")
        session = ort.InferenceSession(slim.SerializeToString(), options, providers=PROVIDERS)
    except Exception:  # noqa: BLE001  # what stays unknown is reported where it is needed
        return {}
    wanted, types = set(names), {}
    for output in session.get_outputs():
        element = output.type.removeprefix("tensor(").removesuffix(")").upper()
        if output.name in wanted and element in ir.DataType.__members__:
            kind = ir.TensorType(ir.DataType[element])
            # The runtime says [] of a scalar and of an unknown rank alike.
            types[output.name] = kind, ir.Shape(output.shape) if output.shape else None
    return types
