# SPDX-License-Identifier: Apache-2.0
"""Kernels: what the runtime executes for a model, described so that equal ones are recognised.

The runtime fuses and rewrites a model before it runs it, so what can be measured once and used for
the next model is not an operator of the file but a node of the optimised model: a blocked
convolution with its activation, say.  A :class:`KernelCall` describes one by operator, attributes,
element types and shapes, and nothing that differs from model to model without changing the time:
no names, and of the parameters no contents except integers (axes, target shapes, paddings) and
exponents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from ..readers.onnx_file import bodies_of
from ..readers.onnx_types import ELEMENT_BITS
from .trace import Kernel, kernels_of

__all__ = ["VIEWS", "Argument", "KernelCall", "describe"]

VIEWS: Final = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})
"""Operators that hand on their input's storage: any two of them take equally long."""

_KEPT_CONTENT: Final = 1024
"""Bytes up to which the runtime writes a parameter into the optimised model itself."""

_INTEGERS: Final = ("int16", "int32", "int64", "bool")
_VALUE_MATTERS: Final = frozenset({"Pow"})
_SEED_ATTRIBUTES: Final = frozenset({"seed"})


@dataclass(frozen=True)
class Argument:
    """One input of a kernel.

    Attributes
    ----------
    elem
        ONNX element type number; 0 for an input that is left out.
    shape
        Dimensions.
    constant
        A parameter, not a tensor that comes from another kernel.
    content
        The parameter as serialised ``onnx.TensorProto`` if its content is known here.
    """

    elem: int
    shape: tuple[int, ...]
    constant: bool = False
    content: bytes | None = None

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        count = 1
        for size in self.shape:
            count *= size
        return -(-count * ELEMENT_BITS.get(self.elem, 0) // 8)


@dataclass(frozen=True)
class KernelCall:
    """One kernel with the shapes it is called with.

    Attributes
    ----------
    node
        ``onnx.NodeProto`` of the optimised model.
    version
        Version of the operator set of its domain.
    inputs
        In the node's order.
    outputs
        Element type and shape of each output that has a name, in the node's order.
    """

    node: Any
    version: int
    inputs: tuple[Argument, ...]
    outputs: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def op(self) -> str:
        """The operator with its domain, as the cost graph writes it."""
        domain = "" if self.node.domain == "ai.onnx" else self.node.domain
        return f"{domain}.{self.node.op_type}" if domain else str(self.node.op_type)

    @property
    def dtype(self) -> str:
        """Name of the element type of the first input, else of the first output."""
        from ..readers.onnx_types import NAMES

        elems = [a.elem for a in self.inputs if a.elem] or [e for e, _ in self.outputs]
        return NAMES.get(elems[0], "") if elems else ""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters it reads."""
        return sum(a.nbytes for a in self.inputs if a.constant)

    @property
    def shapes(self) -> str:
        """The shapes of the inputs, for people."""
        return " ".join("x".join(map(str, a.shape)) or "()" for a in self.inputs if a.elem)

    @cached_property
    def signature(self) -> str:
        """The canonical description, a JSON text; equal for kernels that take equally long."""
        if self.op in VIEWS:
            return json.dumps({"op": "view"})
        return json.dumps(
            {
                "op": self.op,
                "version": self.version,
                "attributes": _attributes(self.node),
                "inputs": [self._described(a) for a in self.inputs],
                "outputs": [[e, list(s)] for e, s in self.outputs],
            },
            sort_keys=True,
            separators=(",", ":"),
        )

    @cached_property
    def key(self) -> str:
        """SHA-256 of the signature."""
        return hashlib.sha256(self.signature.encode()).hexdigest()

    def _described(self, argument: Argument) -> list[Any]:
        from ..readers.onnx_types import NAMES

        kind = "parameter" if argument.constant else "tensor"
        described: list[Any] = [kind, argument.elem, list(argument.shape)]
        integer = NAMES.get(argument.elem) in _INTEGERS
        if argument.content is not None and (integer or self.node.op_type in _VALUE_MATTERS):
            described.append(hashlib.sha256(_values(argument.content)).hexdigest()[:16])
        return described


def describe(
    optimised: Any, shapes: Mapping[Kernel, Sequence[tuple[int, tuple[int, ...]]]], inputs: Any
) -> dict[Kernel, KernelCall | None]:
    """Return what each node of the optimised model is called with.

    None for nodes that cannot be looked at alone: control flow, and whatever handles values that
    are no tensors or whose shapes the trace did not show.

    Parameters
    ----------
    optimised
        ``onnx.ModelProto`` that the runtime wrote.
    shapes
        Element types and shapes of each node's outputs, from a traced run.
    inputs
        Element type and shape of each input of the model, by name.
    """
    graph = optimised.graph
    versions = {o.domain: o.version for o in optimised.opset_import}
    known = {name: Argument(elem, shape) for name, (elem, shape) in inputs.items()}
    for tensor in graph.initializer:
        content = tensor.SerializeToString() if _is_inside(tensor) else None
        known[tensor.name] = Argument(tensor.data_type, tuple(tensor.dims), True, content)
    found: dict[Kernel, KernelCall | None] = {}
    keys = kernels_of((node.name, node.op_type) for node in graph.node)
    for key, node in zip(keys, graph.node, strict=True):
        named = [name for name in node.output if name]
        made = tuple(shapes.get(key, ()))
        complete = len(made) == len(named) and all(n in known for n in node.input if n)
        if complete:
            known.update((n, Argument(*m)) for n, m in zip(named, made, strict=True))
        if complete and not any(True for _ in bodies_of(node)):
            arguments = tuple(known[n] if n else Argument(0, ()) for n in node.input)
            version = versions.get(node.domain, versions.get("", 1))
            found[key] = KernelCall(node, version, arguments, made)
        else:
            found[key] = None
    return found


def _is_inside(tensor: Any) -> bool:
    """Whether a parameter's content is in the file, and small."""
    external = tensor.data_location == 1  # TensorProto.EXTERNAL
    return not external and tensor.ByteSize() <= _KEPT_CONTENT + 256


def _attributes(node: Any) -> dict[str, str]:
    attributes = {}
    for attribute in node.attribute:
        if attribute.name in _SEED_ATTRIBUTES:
            continue
        unnamed = type(attribute)()
        unnamed.CopyFrom(attribute)
        unnamed.doc_string = ""
        unnamed.t.name = unnamed.t.doc_string = ""
        if not attribute.HasField("t"):
            unnamed.ClearField("t")
        attributes[attribute.name] = unnamed.SerializeToString(deterministic=True).hex()
    return attributes


def _values(content: bytes) -> bytes:
    """Return the elements of a serialised tensor, however they are stored."""
    from onnx import TensorProto, numpy_helper

    tensor = TensorProto()
    tensor.ParseFromString(content)
    return bytes(numpy_helper.to_array(tensor).tobytes())
