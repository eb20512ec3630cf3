# SPDX-License-Identifier: Apache-2.0
"""The door of StableHLO, the form in which JAX (and others) hand on programs; docs/formats.md.

Calls are inlined.  Views, and what depends on constants alone, are no nodes: every stage has them for nothing.  A weight
that is only moved about (transposed, converted, broadcast, cut into pieces) stays a weight, prepared once.  Loops of few
known iterations are unrolled, so that a scan over layers can be cut between layers; other loops and conditionals are one node.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ModelError
from ..graph import CostGraph, GraphBuilder
from .notes import tell
from .stablehlo_flops import VIEWS, bytes_of, flops_of, has_rule
from .stablehlo_module import Block, Module, Op, Type, read_module
from .text_file import Place

__all__ = ["read_stablehlo"]

_MAX_NODES: Final = 2_000_000
_SMALL: Final = 4096
"""Bytes of a literal from which on it counts as a parameter."""

_PREPARED: Final = frozenset(["broadcast_in_dim", "broadcast", "transpose", "convert", "reverse"])
_OUTWARD: Final = frozenset(
    ["rng", "rng_bit_generator", "custom_call", "infeed", "outfeed", "send", "recv"]
)
"""Operations that are more than their operands."""

_ANNOTATIONS: Final = frozenset(
    ("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "annotate_device_placement")
)
_DTYPES: Final = {"f": "float", "bf": "bfloat", "i": "int", "ui": "uint"}
_SCALAR: Final[Mapping[str, Callable[[int, int], int]]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "maximum": max,
    "minimum": min,
}
_COMPARE: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
    "EQ": operator.eq,
    "NE": operator.ne,
}


@dataclass(frozen=True)
class _Source:
    """Where a value comes from: a tensor of a node, a parameter, an argument, or a constant."""

    tensor: int = -1
    param: int = -1
    argument: int = -1
    constant: bool = False
    integer: int | None = None


def read_stablehlo(path: Path, options: Mapping[str, str]) -> CostGraph:
    """Read a StableHLO module; its function ``main``, or the only one, is the model.

    Parameters
    ----------
    options
        ``inputs``: which arguments are the model's inputs, all others being parameters: how many of the last, or
        names separated by commas.  ``unroll``: loops of at most so many iterations are unrolled (64).

    Raises
    ------
    ModelError
        If the module is not to be read; the message names the operation.
    MissingDependencyError
        If jaxlib is not installed.
    """
    module = read_module(path)
    name = "main" if "main" in module.functions else next(iter(module.functions), "")
    if not name:
        raise ModelError(str(path), "a function", "a module without any")
    unroll = options.get("unroll", "64")
    if not unroll.isdecimal() or len(unroll) > 6:
        raise ModelError(f"{path}: option unroll", "a number of iterations", repr(unroll))
    return _Walk(path, module, int(unroll)).graph(name, options.get("inputs"))


class _Walk:
    """Walks through the operations once, collecting nodes, tensors and parameters."""

    def __init__(self, path: Path, module: Module, unroll: int) -> None:
        self.path = path
        self.module = module
        self.unroll = unroll
        self.builder = GraphBuilder(module.name)
        self.names: Counter[str] = Counter()
        self.tensors: list[tuple[int, int, dict[int, None]]] = []  # producer, bytes, consumers
        self.params: list[tuple[int, dict[int, None]]] = []  # bytes, users
        self.arguments: list[dict[int, None]] = []  # readers
        self.pieces: dict[tuple[int, str], int] = {}
        self.unknown: Counter[str] = Counter()
        self.loops: Counter[str] = Counter()
        self.calls: list[str] = []

    def graph(self, name: str, inputs: str | None) -> CostGraph:
        main = self.module.functions[name]
        fed = _inputs(main.argument_names, inputs, self.path)
        values: dict[int, _Source] = {}
        for i, (value, is_input) in enumerate(zip(main.block.arguments, fed, strict=True)):
            self.arguments.append({})
            values[value] = (
                _Source(argument=i) if is_input else self.parameter(self.module.types[value].nbytes)
            )
        returned = self.block(main.block, values, "")
        with Place(str(self.path)):
            for producer, nbytes, users in self.tensors:
                if users:
                    self.builder.add_tensor(producer, sorted(users), nbytes=nbytes)
            for nbytes, users in self.params:
                if users and nbytes:
                    self.builder.add_param(nbytes, sorted(users))
            for i, users in enumerate(self.arguments):
                if users:
                    size = self.type(main.block.arguments[i]).nbytes
                    label = main.argument_names[i] or f"argument {i}"
                    self.builder.add_io(label, size, users, is_input=True)
            for i, source in enumerate(returned):
                if source.tensor >= 0:
                    producer, size, _ = self.tensors[source.tensor]
                    self.builder.add_io(f"result {i}", size, [producer], is_input=False)
            graph = self.builder.build()
        self.say(main.argument_names, fed, inputs)
        return graph

    def say(self, names: Sequence[str], fed: Sequence[bool], inputs: str | None) -> None:
        said = []
        if inputs is None and len(fed) > 1:
            shown = [
                name or str(i) for i, (name, is_) in enumerate(zip(names, fed, strict=True)) if is_
            ]
            said.append(
                f"inputs taken to be the arguments {', '.join(shown)}, the others parameters"
            )
        for text, counter in (
            ("operations without a cost rule (bytes only)", self.unknown),
            ("loops counted as one iteration or branches as the dearest", self.loops),
        ):
            if counter:
                shown = [f"{k} x{c}" if c > 1 else k for k, c in counter.most_common(8)]
                said.append(f"{text}: {', '.join(shown)}")
        if said:
            tell(self.path, "; ".join(said))

    def parameter(self, nbytes: int) -> _Source:
        self.params.append((nbytes, {}))
        return _Source(param=len(self.params) - 1)

    def type(self, value: int) -> Type:
        return self.module.types[value]

    def block(self, block: Block, values: dict[int, _Source], prefix: str) -> list[_Source]:
        """Walk through a block whose arguments `values` holds; return what it returns."""
        for op in block.ops:
            self.op(op, values, prefix)
        return [values[v] for v in block.returns]

    def op(self, op: Op, values: dict[int, _Source], prefix: str) -> None:
        found: list[_Source] | None
        if op.name in ("call", "func.call", "composite"):
            found = self.call(op, values, prefix)
        elif op.name == "while":
            found = self.loop(op, values, prefix)
        else:
            found = self.free(op, [values[v] for v in op.operands])
        if found is None:
            found = self.node(op, values, prefix)
        values.update(zip(op.results, found, strict=True))

    def call(self, op: Op, values: dict[int, _Source], prefix: str) -> list[_Source]:
        function = self.module.functions.get(op.callee)
        if function is None:
            raise ModelError(f"{self.path}: call", "a function of the module", f"@{op.callee}")
        if op.callee in self.calls:
            raise ModelError(f"{self.path}: @{op.callee}", "no recursion", "a call of itself")
        self.calls.append(op.callee)
        inner = dict(zip(function.block.arguments, (values[v] for v in op.operands), strict=True))
        found = self.block(function.block, inner, f"{prefix}{op.scope or op.callee}/")
        self.calls.pop()
        return found

    def loop(self, op: Op, values: dict[int, _Source], prefix: str) -> list[_Source] | None:
        """Unroll a loop of few known iterations; None if it is to be one node."""
        state = [values[v] for v in op.operands]
        trips = _trips(op, [s.integer for s in state], values)
        if trips is None or trips > self.unroll:
            return None
        body = op.regions[1]
        for trip in range(trips):
            inner = values | dict(zip(body.arguments, state, strict=True))
            state = self.block(body, inner, f"{prefix}while[{trip}]/")
        return state

    def free(self, op: Op, inputs: list[_Source]) -> list[_Source] | None:
        """Return what an operation gives that needs no node, None if it needs one."""
        results = [self.type(v) for v in op.results]
        if not results:
            return []
        if op.name == "constant":
            if not op.splat and results[0].nbytes > _SMALL:
                return [self.parameter(results[0].nbytes)]
            integer = op.integer if results[0].count == 1 else None
            return [_Source(constant=True, integer=integer)]
        view = op.name in VIEWS or (op.name == "custom_call" and op.callee in _ANNOTATIONS)
        if view and len(inputs) == len(results):
            return inputs
        if all(s.constant for s in inputs) and op.name not in _OUTWARD and not op.regions:
            integer = _integer(op, [s.integer for s in inputs]) if results[0].count == 1 else None
            return [_Source(constant=True, integer=integer) for _ in results]
        if inputs[0].param >= 0 and op.name in _PREPARED:
            return [inputs[0]]
        if inputs[0].param >= 0 and op.name in ("slice", "dynamic_slice"):
            offsets = [s.integer for s in inputs[1:]]
            if None not in offsets:
                return [self.piece(op, inputs[0].param, offsets, results[0].nbytes)]
        return None

    def piece(self, op: Op, param: int, offsets: Sequence[int | None], nbytes: int) -> _Source:
        """Return a part of a parameter as one of its own, such as a layer's of stacked weights."""
        key = (param, f"{offsets} {sorted(op.lists.items())}")
        if key not in self.pieces:
            self.pieces[key] = self.parameter(nbytes).param
        return _Source(param=self.pieces[key])

    def node(self, op: Op, values: dict[int, _Source], prefix: str) -> list[_Source]:
        """Add a node for an operation; one with bodies stands for all that they do."""
        read = dict.fromkeys([*op.operands, *(v for v in _captured(op) if v in values)])
        inputs = [self.type(v) for v in op.operands]
        outputs = [self.type(v) for v in op.results]
        flops, nbytes = self.cost(op, inputs, outputs, values)
        types = [*outputs, *inputs]
        label = prefix + (op.scope or op.name)
        self.names[label] += 1
        count = self.names[label]
        if self.names.total() > _MAX_NODES:
            remedy = "Read it with --option unroll=0."
            raise ModelError(str(self.path), f"at most {_MAX_NODES} nodes", "more", remedy)
        with Place(str(self.path)):
            index = self.builder.add_node(
                label if count == 1 else f"{label}#{count}",
                op=op.callee if op.name == "custom_call" and op.callee else op.name,
                flops=flops,
                nbytes=nbytes,
                dtype=next((d for t in types if (d := _dtype(t.element))), ""),
            )
        for v in read:
            source = values[v]
            if source.tensor >= 0 and self.tensors[source.tensor][0] != index:
                self.tensors[source.tensor][2][index] = None
            elif source.param >= 0:
                self.params[source.param][1][index] = None
            elif source.argument >= 0:
                self.arguments[source.argument][index] = None
        made = []
        for t in outputs:
            self.tensors.append((index, t.nbytes, {}))
            made.append(_Source(tensor=len(self.tensors) - 1))
        return made

    def cost(
        self,
        op: Op,
        inputs: Sequence[Type],
        outputs: Sequence[Type],
        values: Mapping[int, _Source],
    ) -> tuple[int, int]:
        """Return operations and bytes of one operation with its bodies."""
        if op.name in ("call", "func.call", "composite"):
            function = self.module.functions.get(op.callee)
            if function is None or op.callee in self.calls:
                raise ModelError(
                    f"{self.path}: call", "another function of the module", f"@{op.callee}"
                )
            self.calls.append(op.callee)
            found = self.body(function.block, values)
            self.calls.pop()
            return found
        if op.name == "while":
            integers = [values[v].integer if v in values else None for v in op.operands]
            trips = _trips(op, integers, values)
            if trips is None:
                self.loops["while"] += 1
            parts = [self.body(region, values) for region in op.regions]
            many = 1 if trips is None else trips
            return many * sum(p[0] for p in parts), many * sum(p[1] for p in parts)
        if op.name in ("case", "if"):
            self.loops[op.name] += 1
            return max((self.body(r, values) for r in op.regions), default=(0, 0))
        if not has_rule(op) and not (op.name == "custom_call" and op.callee in _ANNOTATIONS):
            self.unknown[op.callee or op.name] += 1
        read = [self.stored(values.get(v), t) for v, t in zip(op.operands, inputs, strict=True)]
        return flops_of(op, inputs, outputs), bytes_of(op, read, outputs)

    def stored(self, source: _Source | None, type_: Type) -> int:
        """Return the bytes in which a value is stored: constants are code, broadcasts of weights are not stored."""
        if source is not None and source.constant:
            return 0
        if source is not None and source.param >= 0:
            return min(type_.nbytes, self.params[source.param][0])
        return type_.nbytes

    def body(self, block: Block, values: Mapping[int, _Source]) -> tuple[int, int]:
        """Return operations and bytes of everything in a block."""
        flops = nbytes = 0
        known = dict(values)
        for op in block.ops:
            if op.name == "constant":
                known[op.results[0]] = _Source(constant=True, integer=op.integer)
                continue
            inputs = [self.type(v) for v in op.operands]
            more = self.cost(op, inputs, [self.type(v) for v in op.results], known)
            flops, nbytes = flops + more[0], nbytes + more[1]
        return flops, nbytes


def _inputs(names: Sequence[str], chosen: str | None, path: Path) -> list[bool]:
    """Return which arguments are inputs: those asked for, or all parts of the last argument."""
    roots = [name.partition("[")[0].partition(".")[0] for name in names]
    if chosen is None:
        if not names:
            return []
        last = len(names) - 1
        return [i == last or (roots[i] != "" and roots[i] == roots[last]) for i in range(last + 1)]
    if chosen.isdecimal() and len(chosen) < 10:
        if int(chosen) > len(names):
            item = f"{path}: option inputs"
            raise ModelError(item, f"at most {len(names)}, the arguments there are", chosen)
        return [i >= len(names) - int(chosen) for i in range(len(names))]
    wanted = [name.strip() for name in chosen.split(",")]
    for name in wanted:
        if name not in names and name not in roots:
            known = ", ".join(dict.fromkeys(filter(None, roots))) or "no names"
            raise ModelError(f"{path}: option inputs", f"arguments of main ({known})", repr(name))
    return [name in wanted or root in wanted for name, root in zip(names, roots, strict=True)]


def _trips(op: Op, start: Sequence[int | None], values: Mapping[int, _Source]) -> int | None:
    """Return the iterations of a loop that counts up to a constant, None if it is another."""
    condition, body = op.regions[0], op.regions[1]
    integers = {v: s.integer for v, s in values.items() if s.constant}
    for region in (condition, body):
        integers |= {o.results[0]: o.integer for o in region.ops if o.name == "constant"}
    test = next((o for o in condition.ops if o.results == condition.returns), None)
    if test is None or test.name != "compare" or test.direction != "LT":
        return None
    if test.operands[0] not in condition.arguments:
        return None
    counter = condition.arguments.index(test.operands[0])
    bound = integers.get(test.operands[1])
    if bound is None and test.operands[1] in condition.arguments:
        # A bound that is carried along unchanged.
        place = condition.arguments.index(test.operands[1])
        if body.returns[place] == body.arguments[place]:
            bound = start[place]
    step = next((o for o in body.ops if o.results == [body.returns[counter]]), None)
    first = start[counter]
    if step is None or step.name != "add" or bound is None or first is None:
        return None
    others = [v for v in step.operands if v != body.arguments[counter]]
    size = integers.get(others[0]) if len(others) == 1 else None
    return max(0, -(-(bound - first) // size)) if size is not None and size > 0 else None


def _integer(op: Op, inputs: Sequence[int | None]) -> int | None:
    """Return the value of scalar arithmetic on known integers, as loops do with their counter."""
    if None in inputs:
        return None
    known = [i for i in inputs if i is not None]
    if op.name == "convert":
        return known[0]
    if len(known) == 2 and op.name in _SCALAR:
        return _SCALAR[op.name](*known)
    if len(known) == 2 and op.direction in _COMPARE:
        return int(_COMPARE[op.direction](*known))
    if op.name == "select" and len(known) == 3:
        return known[1] if known[0] else known[2]
    if op.name == "clamp" and len(known) == 3:
        return min(max(known[1], known[0]), known[2])
    return None


def _captured(op: Op) -> list[int]:
    """Return the values that bodies read."""
    found: list[int] = []
    for region in op.regions:
        found += region.returns
        for inner in region.ops:
            found += [*inner.operands, *_captured(inner)]
    return found


def _dtype(element: str) -> str:
    """Return the name of an element type as CostGraph has it; "" for tokens and 32-bit indices."""
    letters = element.rstrip("0123456789")
    if element == "i1":
        return "bool"
    if letters in _DTYPES:
        return _DTYPES[letters] + element[len(letters) :]
    return "float8" if element.startswith("f8") else ""
