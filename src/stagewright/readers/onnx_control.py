# SPDX-License-Identifier: Apache-2.0
"""Control flow: If, Loop, Scan, SequenceMap.  The body's cost belongs to its node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from onnx import TensorProto

from ..errors import ModelError
from .onnx_file import bodies_of, captured_names
from .onnx_function import constant
from .onnx_scope import Misfit, Step
from .onnx_types import Value, as_ints

if TYPE_CHECKING:
    from .onnx_scope import Scope
    from .onnx_walk import Walker

__all__ = ["RULES"]

Inputs = Sequence[Value | None]


def _body(node: Any, name: str, item: str) -> Any:
    for attribute in node.attribute:
        if attribute.name == name and attribute.HasField("g"):
            return attribute.g
    raise ModelError(f"{item}: {name}", "a graph", "none")


def _number(node: Any, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _numbers(node: Any, name: str) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), [])


def _varying(value: Value | None) -> Value:
    """Return the value without content: inside a loop it changes."""
    return Value() if value is None else replace(value, const=False, data=None, root="", stored=0)


def _run(
    walker: Walker, body: Any, scope: Scope, item: str, actual: Sequence[Value | None]
) -> tuple[Step, list[Value]]:
    """Walk a body and return its cost and its outputs."""
    inner = walker.open_body(body, scope, item, actual)
    total = walker.run(body.node, inner)
    outputs = [inner.find(output.name, item) or Value() for output in body.output]
    # A body may hand out a constant: then its node holds it.
    total.reads |= {v.root: v.stored for v in outputs if v.const}
    return total, outputs


def _if(walker: Walker, node: Any, inputs: Inputs, scope: Scope, item: str) -> Step:
    """Cost the branch taken where the condition is constant, else the more expensive one."""
    chosen = as_ints(inputs[0] if inputs else None)
    names: tuple[str, ...] = ("then_branch", "else_branch")
    if chosen:
        names = names[:1] if chosen[0] else names[1:]
    runs, unfit = _branches(walker, node, names, scope, item)
    total = max((step for step, _ in runs), key=lambda s: (s.flops, s.nbytes))
    for step in (*(step for step, _ in runs), *unfit):
        total.reads |= step.reads  # a device holds the parameters of both
    columns = zip(*(outputs for _, outputs in runs), strict=False)
    total.outputs = [column[0] if chosen else _larger(column) for column in columns]
    if not chosen and any(
        len({v.shape for v in c}) > 1 for c in zip(*(o for _, o in runs), strict=False)
    ):
        walker.notes.bounded["If"] += 1
    return total


def _branches(
    walker: Walker, node: Any, names: Sequence[str], scope: Scope, item: str
) -> tuple[list[tuple[Step, list[Value]]], list[Step]]:
    """Walk branches; return what those cost that can run, and what the others hold.

    Models that check their own inputs have branches that are never taken at a given shape (one per
    sampling rate, say).  Such a branch is no fault as long as another one can run.
    """
    runs, unfit, first = [], [], None
    for name in names:
        body, where = _body(node, name, item), f"{item}: {name}"
        try:
            runs.append(_run(walker, body, scope, where, ()))
        except Misfit as error:
            first = first or error
            captured = (scope.find(n, where) for n in captured_names(body))
            held = {v.root: v.stored for v in captured if v is not None and v.const}
            unfit.append(Step(reads=held | _stored(walker, body, where)))
    if first is not None and not runs:
        raise first
    if unfit:
        walker.notes.unfit[f"'{node.name or next(iter(node.output), '')}'"] += len(unfit)
    return runs, unfit


def _stored(walker: Walker, body: Any, item: str) -> dict[str, int]:
    """Return the parameters that lie in a body and in those nested in it."""
    values = [walker.file.value(t, f"{item}/{t.name}") for t in body.initializer]
    held: dict[str, int] = {}
    for i, node in enumerate(body.node):
        if node.op_type == "Constant":
            values.append(constant(node, walker.file, f"{item}/", item))
        for j, inner in enumerate(bodies_of(node)):
            held |= _stored(walker, inner, f"{item}/{i}.{j}")
    return held | {v.root: v.stored for v in values}


def _larger(values: Sequence[Value]) -> Value:
    """Return the value of the branch whose output is larger."""
    return _varying(max(values, key=lambda v: v.nbytes or 0))


def _loop(walker: Walker, node: Any, inputs: Inputs, scope: Scope, item: str) -> Step:
    """Cost an iteration times the trip count; once, with a note, where that is not constant."""
    limit = as_ints(inputs[0] if inputs else None)
    trips = max(0, limit[0]) if limit else 1
    if not limit:
        walker.notes.loops["Loop"] += 1
    carried = [_varying(v) for v in inputs[2:]]
    counters = [Value(TensorProto.INT64, ()), Value(TensorProto.BOOL, ())]
    body = _body(node, "body", item)
    step, outputs = _run(walker, body, scope, f"{item}: body", [*counters, *carried])
    states = [_after(first, last, trips) for first, last in zip(carried, outputs[1:], strict=False)]
    stacked = [_stacked(v, trips if limit else None, 0) for v in outputs[1 + len(carried) :]]
    return _repeated(step, trips, [*states, *stacked])


def _after(first: Value, last: Value, trips: int) -> Value:
    """Return a loop-carried value after the loop; sequences grow by the same each time."""
    last = _varying(last)
    if last.kind != "sequence" or first.length is None or last.length is None:
        return last
    return replace(last, length=max(0, first.length + trips * (last.length - first.length)))


def _stacked(value: Value, count: int | None, axis: int) -> Value:
    """Return `count` values stacked along a new axis."""
    value = _varying(value)
    if value.shape is None:
        return value
    shape = list(value.shape)
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, count)
    return replace(value, shape=tuple(shape))


def _repeated(step: Step, times: int, outputs: Sequence[Value]) -> Step:
    step.flops *= times
    step.nbytes *= times
    step.outputs = outputs
    return step


def _without(value: Value | None, axis: int) -> Value:
    """Return one slice along an axis, without that axis."""
    value = _varying(value)
    if not value.shape:
        return value
    axis %= len(value.shape)
    return replace(value, shape=value.shape[:axis] + value.shape[axis + 1 :])


def _scan(walker: Walker, node: Any, inputs: Inputs, scope: Scope, item: str) -> Step:
    """Cost an iteration times the length of the scanned axis (in operator set 8, the batch too)."""
    batched = scope.opsets.get("", 1) < 9
    inputs = inputs[1:] if batched else inputs  # the first one was the lengths
    count = _number(node, "num_scan_inputs", 0)
    if not 0 < count <= len(inputs):
        raise ModelError(f"{item}: num_scan_inputs", f"from 1 to {len(inputs)}", str(count))
    states, scanned = inputs[: len(inputs) - count], inputs[len(inputs) - count :]
    axes = _numbers(node, "scan_input_axes") or [0] * count
    batch: int | None = 1
    if batched:
        axes = [0] * count
        batch = next((v.shape[0] for v in inputs if v is not None and v.shape), None)
        states = [_without(v, 0) for v in states]
        scanned = [_without(v, 0) for v in scanned]
    first = scanned[0]
    length = first.dims[axes[0] % len(first.dims)] if first is not None and first.dims else 0
    actual = [_varying(v) for v in states]
    actual += [_without(v, axis) for v, axis in zip(scanned, axes, strict=True)]
    step, outputs = _run(walker, _body(node, "body", item), scope, f"{item}: body", actual)
    out_axes = _numbers(node, "scan_output_axes") or [0] * len(outputs)
    made = [_varying(v) for v in outputs[: len(states)]]
    made += [_stacked(v, length, a) for v, a in zip(outputs[len(states) :], out_axes, strict=False)]
    if batched:
        made = [_stacked(v, batch, 0) for v in made]
    return _repeated(step, length * (batch or 1), made)


def _sequence_map(walker: Walker, node: Any, inputs: Inputs, scope: Scope, item: str) -> Step:
    """Cost the body once per element; once, with a note, where the number is unknown."""
    first = inputs[0] if inputs else None
    length = None if first is None else first.length
    if length is None:
        walker.notes.loops["SequenceMap"] += 1
    actual = [
        replace(_varying(v), kind="tensor", length=None) if v and v.kind == "sequence" else v
        for v in inputs
    ]
    step, outputs = _run(walker, _body(node, "body", item), scope, f"{item}: body", actual)
    made = [replace(_varying(v), kind="sequence", length=length) for v in outputs]
    return _repeated(step, 1 if length is None else length, made)


RULES: Final[dict[str, Callable[[Walker, Any, Inputs, Scope, str], Step]]] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _sequence_map,
}
