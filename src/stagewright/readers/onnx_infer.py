# SPDX-License-Identifier: Apache-2.0
"""Types, shapes and small contents of a node's outputs, one node at a time.

One pass in file order, with onnx's own inference function of each operator, instead of onnx's
whole-model inference: it needs no copy of the weights, follows the content of shape computations
through every operator of :mod:`.onnx_values`, and goes on behind operators outside the standard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
from onnx import checker, defs, helper, numpy_helper, shape_inference

from .onnx_contrib import CONTRIB_SHAPES
from .onnx_types import DATA_LIMIT, Value, as_ints, elem_of, from_type, of_data, to_type, words
from .onnx_values import evaluate

__all__ = ["Inference", "attributes_of", "bounded", "infer", "schema_of"]


@cache
def schema_of(op: str, version: int, domain: str) -> Any:
    """Return the operator's schema with an inference function, None where onnx has none.

    The oldest operator sets came without inference; the next version that has it stands in.
    """
    while True:
        try:
            schema = defs.get_schema(op, version, domain)
        except defs.SchemaError:
            return None
        if schema.has_type_and_shape_inference_function:
            return schema
        if version >= defs.onnx_opset_version():
            return None
        version += 1


def attributes_of(node: Any) -> dict[str, Any]:
    """Return attribute values by name, texts decoded; bodies are left out."""
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.HasField("g") or attribute.graphs or attribute.ref_attr_name:
            continue
        value = helper.get_attribute_value(attribute)
        values[attribute.name] = (
            value.decode(errors="replace") if isinstance(value, bytes) else value
        )
    return values


class Inference(Exception):  # noqa: N818  # carries onnx's message to where the node has a name
    """Shape inference found inputs that do not fit together."""


def infer(
    node: Any, domain: str, inputs: Sequence[Value | None], opsets: Mapping[str, int]
) -> list[Value]:
    """Return what is known of each output; unknown parts stay unknown.

    Raises
    ------
    Inference
        If the inputs contradict the operator's rules.
    """
    known = _known(node, inputs) if domain == "" else None
    if known is not None:
        return known
    schema = schema_of(node.op_type, opsets.get(domain, 1), domain)
    if schema is None and node.op_type == "FusedConv":
        twin = helper.make_node("Conv", node.input[:3], node.output, **_own(node, _CONV_ATTRIBUTES))
        return _by_schema(schema_of("Conv", 11, ""), twin, inputs[:3], opsets)
    if schema is None:
        rule = CONTRIB_SHAPES.get(node.op_type)
        made = rule(attributes_of(node), list(inputs), len(node.output)) if rule else []
        return [*made, *[Value()] * len(node.output)][: len(node.output)]
    return _sequences(node, inputs, _by_schema(schema, node, inputs, opsets))


_CONV_ATTRIBUTES: Final = words("auto_pad dilations group kernel_shape pads strides")


def _own(node: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: v for name, v in attributes_of(node).items() if name in names}


def _known(node: Any, inputs: Sequence[Value | None]) -> list[Value] | None:
    """Return the outputs where their content is known, else None."""
    first = inputs[0] if inputs else None
    if node.op_type in ("Shape", "Size") and first is not None and first.kind == "tensor":
        if first.numel is None:
            return None
        attributes = attributes_of(node)
        dims = list(first.dims)[attributes.get("start", 0) : attributes.get("end")]
        data = np.array(dims if node.op_type == "Shape" else first.numel, np.int64)
        return [of_data(data, elem_of(data))]
    if any(v is not None and v.data is None for v in inputs):
        return None
    arrays = [None if v is None else v.data for v in inputs]
    results = evaluate(node.op_type, attributes_of(node), arrays)
    if results is None or len(results) < len(node.output):
        return None
    return [of_data(r, elem_of(r)) for r in results]


def _by_schema(
    schema: Any, node: Any, inputs: Sequence[Value | None], opsets: Mapping[str, int]
) -> list[Value]:
    types, data = {}, {}
    for name, value in zip(node.input, inputs, strict=True):
        if value is None:
            continue
        types[name] = to_type(value)
        if value.data is not None and value.data.size <= DATA_LIMIT:
            data[name] = numpy_helper.from_array(value.data)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        outputs = shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=imports
        )
    except shape_inference.InferenceError as error:
        if any(v is not None and not v.complete for v in inputs):
            # onnx refuses inputs of unknown type; the reader reports those by name.
            return [Value()] * len(node.output)
        raise Inference(" ".join(str(error).split())) from None
    except (checker.ValidationError, ValueError, RuntimeError):
        # Optionals are seen here as what is inside them, which onnx may refuse.
        return [Value()] * len(node.output)
    found = {name: from_type(proto) for name, proto in outputs.items()}
    return [found.get(name, Value()) for name in node.output]


def _sequences(node: Any, inputs: Sequence[Value | None], outputs: list[Value]) -> list[Value]:
    """Fill in the number and the common shape of a sequence's elements where they are known."""
    if not outputs or outputs[0].kind != "sequence":
        return outputs
    first, op = inputs[0] if inputs else None, node.op_type
    length: int | None = None
    shape = outputs[0].shape
    if op == "SequenceConstruct":
        length = len(inputs)
    elif op == "SequenceEmpty":
        length = 0
    elif op in ("SequenceInsert", "SequenceErase") and first is not None:
        change = 1 if op == "SequenceInsert" else -1
        length = None if first.length is None else max(0, first.length + change)
        if op == "SequenceInsert" and first.length == 0 and inputs[1] is not None:
            shape = inputs[1].shape
    elif op == "SplitToSequence" and first is not None and first.numel is not None:
        length, shape = _split(node, inputs, first)
    elif first is not None:
        length = first.length
    return [replace(outputs[0], length=length, shape=shape), *outputs[1:]]


def _split(
    node: Any, inputs: Sequence[Value | None], first: Value
) -> tuple[int | None, tuple[int | None, ...]]:
    """Return the number of pieces of SplitToSequence and the shape of the largest."""
    attributes, dims = attributes_of(node), list(first.dims)
    axis = attributes.get("axis", 0)
    given = inputs[1] if len(inputs) > 1 else None
    sizes = as_ints(given)
    if given is None:
        sizes = [1] * dims[axis]
    if sizes is None:
        return None, first.shape or ()
    if given is not None and not given.shape:  # a scalar: pieces of this size, the last may be less
        piece = max(1, sizes[0])
        sizes = [piece] * (-(-dims[axis] // piece))
    dims[axis] = max(sizes, default=0)
    if len(inputs) < 2 and not attributes.get("keepdims", 1):
        del dims[axis]
    return len(sizes), tuple(dims)


_BOUNDED: Final = frozenset({"NonZero", "Compress", "Unique", "NonMaxSuppression", "TopK", "Slice"})


def bounded(node: Any, inputs: Sequence[Value | None], outputs: list[Value]) -> list[Value]:
    """Give outputs whose size depends on the data the largest size they can have.

    A cost graph needs sizes; the largest is never too cheap.  The reader says that it did so.
    """
    first = inputs[0] if inputs else None
    if all(o.complete for o in outputs):
        return outputs
    if node.op_type == "Loop":  # stacked outputs of a loop of unknown length: one iteration
        return [
            replace(o, shape=(1, *o.shape[1:])) if o.shape and o.shape[0] is None else o
            for o in outputs
        ]
    if node.op_type not in _BOUNDED or first is None:
        return outputs
    if first.numel is None:
        return outputs
    limit: tuple[int, ...] = first.dims
    if node.op_type == "NonMaxSuppression":
        limit = (_most_boxes(inputs), 3)
    elif node.op_type == "NonZero" or (
        node.op_type in ("Compress", "Unique") and "axis" not in attributes_of(node)
    ):
        limit = (len(first.dims), first.numel) if node.op_type == "NonZero" else (first.numel,)
    made = []
    for output in outputs:
        shape = output.shape if output.shape is not None else (None,) * len(limit)
        if len(shape) == len(limit):
            shape = tuple(b if d is None else d for d, b in zip(shape, limit, strict=True))
        elif len(shape) == 1:  # the index outputs of Unique
            shape = (max(limit, default=0),)
        made.append(replace(output, shape=shape))
    return made


def _most_boxes(inputs: Sequence[Value | None]) -> int:
    """Return batches x classes x boxes per class; the last from the input where it is constant."""
    boxes, scores = inputs[0], inputs[1]
    if boxes is None or scores is None or len(scores.dims) != 3:
        return 0
    batches, classes, count = scores.dims
    limit = as_ints(inputs[2]) if len(inputs) > 2 else None
    return batches * classes * min(count, limit[0] if limit else count)
