# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the small constants that shapes are made of.

Exporters compute shapes with chains of Shape, Gather, Concat and the like.  Following their
content is what makes the shapes behind them known.  Everything here is bounded by
:data:`~.onnx_types.DATA_LIMIT` elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from .onnx_types import DATA_LIMIT, Array, product

__all__ = ["evaluate"]

Attributes = Mapping[str, Any]
Arrays = Sequence[Array | None]
Rule = Callable[[Attributes, Arrays], Array | list[Array]]


def _axes(attributes: Attributes, arrays: Arrays, position: int = 1) -> tuple[int, ...] | None:
    """Return the axes, an attribute in old operator sets and an input in new ones."""
    if len(arrays) > position and (given := arrays[position]) is not None:
        return tuple(int(a) for a in given.reshape(-1))
    axes = attributes.get("axes")
    return None if axes is None else tuple(axes)


def _first(arrays: Arrays) -> Array:
    array = arrays[0]
    if array is None:
        raise ValueError
    return array


def _unsqueeze(attributes: Attributes, arrays: Arrays) -> Array:
    return np.expand_dims(_first(arrays), _axes(attributes, arrays) or ())


def _squeeze(attributes: Attributes, arrays: Arrays) -> Array:
    return np.squeeze(_first(arrays), _axes(attributes, arrays))


def _slice(attributes: Attributes, arrays: Arrays) -> Array:
    data = _first(arrays)
    given = [None if a is None else [int(v) for v in a.reshape(-1)] for a in arrays[1:]]
    given += [None] * (4 - len(given))
    starts = given[0] if given[0] is not None else list(attributes["starts"])
    ends = given[1] if given[1] is not None else list(attributes["ends"])
    axes = given[2] if given[2] is not None else attributes.get("axes", range(len(starts)))
    steps = given[3] if given[3] is not None else [1] * len(starts)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # A backward slice to before the first element is written as a very negative end.
        stop = None if step < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return data[tuple(index)]


def _reshape(attributes: Attributes, arrays: Arrays) -> Array:
    data = _first(arrays)
    target = arrays[1] if len(arrays) > 1 else np.array(attributes["shape"])
    if target is None:
        raise ValueError
    shape = [int(v) for v in target]
    if not attributes.get("allowzero", 0):
        shape = [data.shape[i] if v == 0 else v for i, v in enumerate(shape)]
    return data.reshape(shape)


def _cast(attributes: Attributes, arrays: Arrays) -> Array:
    from onnx.helper import tensor_dtype_to_np_dtype

    return _first(arrays).astype(tensor_dtype_to_np_dtype(attributes["to"]))


def _constant_of_shape(attributes: Attributes, arrays: Arrays) -> Array:
    from onnx.numpy_helper import to_array

    shape = [int(v) for v in _first(arrays)]
    if product(shape) > DATA_LIMIT:
        raise ValueError
    value = attributes.get("value")
    fill = np.float32(0) if value is None else to_array(value).reshape(-1)[0]
    return np.full(shape, fill)


def _range(attributes: Attributes, arrays: Arrays) -> Array:
    start, limit, delta = (_first([a]).reshape(-1)[0] for a in arrays)
    if not 0 <= (limit - start) / delta <= DATA_LIMIT:
        raise ValueError
    return np.arange(start, limit, delta, dtype=_first(arrays).dtype)


def _expand(attributes: Attributes, arrays: Arrays) -> Array:
    shape = np.broadcast_shapes(_first(arrays).shape, tuple(int(v) for v in _first(arrays[1:])))
    if product(shape) > DATA_LIMIT:
        raise ValueError
    return np.broadcast_to(_first(arrays), shape)


def _tile(attributes: Attributes, arrays: Arrays) -> Array:
    repeats = [int(v) for v in _first(arrays[1:])]
    if product(repeats) * _first(arrays).size > DATA_LIMIT:
        raise ValueError
    return np.tile(_first(arrays), repeats)


def _gather(attributes: Attributes, arrays: Arrays) -> Array:
    return np.take(_first(arrays), _first(arrays[1:]), axis=attributes.get("axis", 0))


def _concat(attributes: Attributes, arrays: Arrays) -> Array:
    return np.concatenate([_first([a]) for a in arrays], axis=attributes.get("axis", 1))


def _split(attributes: Attributes, arrays: Arrays) -> list[Array]:
    data, axis = _first(arrays), attributes.get("axis", 0)
    sizes = _axes({"axes": attributes.get("split")}, arrays)
    if sizes is None:
        raise ValueError
    return np.split(data, np.cumsum(sizes)[:-1].tolist(), axis=axis)


def _divide(attributes: Attributes, arrays: Arrays) -> Array:
    a, b = _first(arrays), _first(arrays[1:])
    if a.dtype.kind in "iu":
        if not b.all():
            raise ValueError
        # ONNX integers divide towards zero, NumPy floors.
        return (np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)).astype(a.dtype)
    return np.asarray(a / b)


def _modulo(attributes: Attributes, arrays: Arrays) -> Array:
    a, b = _first(arrays), _first(arrays[1:])
    if not b.all():
        raise ValueError
    return np.asarray(np.fmod(a, b) if attributes.get("fmod", 0) else np.mod(a, b))


def _reduce(function: Any) -> Rule:
    def rule(attributes: Attributes, arrays: Arrays) -> Array:
        data, axes = _first(arrays), _axes(attributes, arrays)
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return data
        kept = bool(attributes.get("keepdims", 1))
        return np.asarray(function(data, axis=axes or None, keepdims=kept), dtype=data.dtype)

    return rule


def _plain(function: Any) -> Rule:
    """Make the rule of an operator that is one NumPy function of its inputs."""
    return lambda attributes, arrays: np.asarray(function(*arrays))


def _folded(function: Any) -> Rule:
    """Make the rule of a variadic operator (Max, Min, Sum)."""

    def rule(attributes: Attributes, arrays: Arrays) -> Array:
        result = _first(arrays)
        for array in arrays[1:]:
            result = np.asarray(function(result, array))
        return result

    return rule


def _transpose(attributes: Attributes, arrays: Arrays) -> Array:
    return np.transpose(_first(arrays), attributes.get("perm"))


def _identity(attributes: Attributes, arrays: Arrays) -> Array:
    return _first(arrays)


_RULES: Final[dict[str, Rule]] = {
    "Identity": _identity,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Reshape": _reshape,
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Expand": _expand,
    "Tile": _tile,
    "Gather": _gather,
    "Concat": _concat,
    "Split": _split,
    "Transpose": _transpose,
    "Add": _plain(np.add),
    "Sub": _plain(np.subtract),
    "Mul": _plain(np.multiply),
    "Div": _divide,
    "Mod": _modulo,
    "Neg": _plain(np.negative),
    "Abs": _plain(np.abs),
    "Sign": _plain(np.sign),
    "Floor": _plain(np.floor),
    "Ceil": _plain(np.ceil),
    "Round": _plain(np.round),
    "Sqrt": _plain(np.sqrt),
    "Max": _folded(np.maximum),
    "Min": _folded(np.minimum),
    "Sum": _folded(np.add),
    "Equal": _plain(np.equal),
    "Less": _plain(np.less),
    "LessOrEqual": _plain(np.less_equal),
    "Greater": _plain(np.greater),
    "GreaterOrEqual": _plain(np.greater_equal),
    "And": _plain(np.logical_and),
    "Or": _plain(np.logical_or),
    "Not": _plain(np.logical_not),
    "Where": _plain(np.where),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}


def evaluate(op: str, attributes: Attributes, arrays: Arrays) -> list[Array] | None:
    """Return the outputs of a standard operator on known inputs, or None where no rule fits.

    Parameters
    ----------
    op
        Operator of the standard domain.
    attributes
        Attribute values by name.
    arrays
        One array per input, None for an input that is left out.
    """
    rule = _RULES.get(op)
    if rule is None or not arrays:
        return None
    try:
        with np.errstate(all="ignore"):
            result = rule(attributes, arrays)
    except (ValueError, IndexError, TypeError, KeyError, ArithmeticError):
        # Not an error here: without the content, shape inference says what is wrong, if anything.
        return None
    outputs = result if isinstance(result, list) else [np.asarray(result)]
    return outputs if all(o.size <= DATA_LIMIT for o in outputs) else None
