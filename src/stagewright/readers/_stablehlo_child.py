# SPDX-License-Identifier: Apache-2.0
"""The process in which MLIR parses: `python -m stagewright.readers._stablehlo_child FILE`.

Writes one JSON object to stdout: ``kind`` is ``module`` (with what :mod:`.stablehlo_module` holds), ``missing``
(no jaxlib) or ``fault`` (item, expected, got, remedy).  What MLIR prints goes to stderr.
Tensor data is not looked at, but for integers that loops count with.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from .stablehlo_module import Block, Op, Type
from .text_file import text_of

__all__ = ["main"]

_MAGIC: Final = b"ML\xefR"
_ELEMENT: Final = re.compile(r"(bf|tf|u?i|f)(\d+)(E\d+M\d+\w*)?")
_QUOTED: Final = re.compile(r'loc\("((?:[^"\\]|\\.)*)"')
_LISTS: Final = (
    "window_dimensions",
    "lhs_dilation",
    "start_indices",
    "limit_indices",
    "strides",
    "slice_sizes",
    "dimensions",
)


class _FaultError(Exception):
    """What to tell the parent: item, expected, got, remedy."""


def main() -> None:
    """Parse the file named on the command line."""
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    path = Path(sys.argv[1])
    try:
        found = _read(path)
    except ImportError:
        found = {"kind": "missing"}
    except _FaultError as fault:
        found = {"kind": "fault", "fault": [str(part) for part in fault.args]}
    except InputError as error:
        found = {"kind": "fault", "fault": ["", error.expected, error.got, error.remedy]}
    json.dump(found, results)
    results.close()


def _read(path: Path) -> dict[str, Any]:
    from jaxlib.mlir import ir
    from jaxlib.mlir._mlir_libs import _jax_mlir_ext
    from jaxlib.mlir.dialects import chlo, stablehlo

    registry = ir.DialectRegistry()
    _jax_mlir_ext.register_dialects(registry)
    context = ir.Context()
    context.append_dialect_registry(registry)
    context.load_all_available_dialects()
    stablehlo.register_dialect(context)
    chlo.register_dialect(context)
    # Annotations of other dialects (shardings) may be there; they cost nothing.
    context.allow_unregistered_dialects = True
    try:
        with path.open("rb") as file:
            packed = file.read(4) == _MAGIC
        if packed:
            module = stablehlo.deserialize_portable_artifact(context, path.read_bytes())
        else:
            module = ir.Module.parse(text_of(path), context)
    except OSError as error:
        raise _FaultError("", "a readable file", error.strerror or str(error), "") from None
    except (ir.MLIRError, ValueError) as error:
        raise _FaultError("", "a StableHLO module", _first_fault(str(error)), "") from None
    return _Reader(ir, stablehlo).module(module)


def _first_fault(text: str) -> str:
    """Return the first error of MLIR's message, with its line and column."""
    found = re.search(r'error: "-":(\d+):(\d+): (.*)', text)
    if found:
        fault = found[3].strip()
        return f"a fault in line {found[1]} column {found[2]} ({fault[:160]})"
    return f"a fault ({' '.join(text.split())[:160]})"


class _Reader:
    """Turns MLIR's objects into plain data."""

    def __init__(self, ir: Any, stablehlo: Any) -> None:
        self.ir = ir
        self.stablehlo = stablehlo
        self.numbers: dict[Any, int] = {}
        self.types: list[Type] = []
        self.known: dict[str, Type] = {}

    def module(self, module: Any) -> dict[str, Any]:
        functions = {}
        for op in module.body.operations:
            if op.operation.name != "func.func":
                continue
            name = self.ir.StringAttr(op.attributes["sym_name"]).value
            if not len(op.regions[0].blocks):
                continue
            block = self.block(op.regions[0], f"@{name}")
            names = [_scope(a.location) for a in op.regions[0].blocks[0].arguments]
            functions[name] = {"block": asdict(block), "argument_names": names}
        attributes = module.operation.attributes
        name = "module"
        if "sym_name" in attributes:
            name = self.ir.StringAttr(attributes["sym_name"]).value
        types = [[list(t.shape), t.element, t.nbytes] for t in self.types]
        return {"kind": "module", "name": name, "functions": functions, "types": types}

    def block(self, region: Any, where: str) -> Block:
        if len(region.blocks) != 1:
            raise _FaultError(where, "one block", f"{len(region.blocks)}")
        block = region.blocks[0]
        arguments = [self.value(a, where) for a in block.arguments]
        ops: list[Op] = []
        returns: list[int] = []
        for op in block.operations:
            name = op.operation.name
            if name in ("func.return", "stablehlo.return", "return"):
                returns = [self.value(v, where) for v in op.operands]
            else:
                ops.append(self.op(op.operation, name))
        return Block(arguments, ops, returns)

    def op(self, op: Any, name: str) -> Op:
        attributes = op.attributes
        operands = [self.value(v, name) for v in op.operands]
        results = [self.value(v, name) for v in op.results]
        short = name.removeprefix("stablehlo.").removeprefix("chlo.")
        regions = [self.block(r, name) for r in op.regions if len(r.blocks)]
        made = Op(short, operands, results, regions, _scope(op.location))
        for key in ("callee", "decomposition", "call_target_name"):
            if key in attributes:
                made.callee = str(attributes[key]).strip('@"')
        for key in _LISTS:
            if key in attributes:
                made.lists[key] = [int(v) for v in attributes[key]]
        if "comparison_direction" in attributes:
            made.direction = str(attributes["comparison_direction"]).split()[-1].strip(">")
        if short == "constant":
            self.constant(made, attributes["value"])
        if short == "dot_general":
            numbers = self.stablehlo.DotDimensionNumbers(attributes["dot_dimension_numbers"])
            made.lists["contracting"] = list(numbers.lhs_contracting_dimensions)
        if short in ("convolution", "dynamic_conv"):
            conv = self.stablehlo.ConvDimensionNumbers(attributes["dimension_numbers"])
            made.lists["features"] = [conv.kernel_output_feature_dimension]
        if short == "iota" and "iota_dimension" in attributes:
            made.splat = True
        return made

    def constant(self, made: Op, value: Any) -> None:
        """Note whether a constant is one value throughout, and which integer."""
        try:
            made.splat = bool(value.is_splat)
        except AttributeError:  # data kept outside of the attribute
            return
        if made.splat and isinstance(value, self.ir.DenseIntElementsAttr):
            single = value.get_splat_value()
            made.integer = int(getattr(single, "value", 0))

    def value(self, value: Any, where: str) -> int:
        if value not in self.numbers:
            self.numbers[value] = len(self.types)
            self.types.append(self.type(value.type, where))
        return self.numbers[value]

    def type(self, type_: Any, where: str) -> Type:
        text = str(type_)
        if text not in self.known:
            self.known[text] = self._type(type_, text, where)
        return self.known[text]

    def _type(self, type_: Any, text: str, where: str) -> Type:
        if not text.startswith("tensor<"):
            return Type((), text, 0)
        try:
            tensor = self.ir.RankedTensorType(type_)
        except (TypeError, ValueError):  # tensor<*xf32>
            tensor = None
        if tensor is None or not tensor.has_static_shape:
            raise _FaultError(
                where,
                "tensors of fixed shape",
                text,
                "Lower it for fixed shapes.",
            )
        shape, element = tuple(tensor.shape), str(tensor.element_type)
        bits = _bits(element)
        if bits is None:
            raise _FaultError(where, "a known element type", element)
        return Type(shape, element, -(-math.prod(shape) * bits // 8))


def _bits(element: str) -> int | None:
    """Return the size of an element in memory: truth values take a byte, 4-bit integers half of one."""
    if element == "i1":
        return 8
    if element.startswith("complex<"):
        part = _bits(element[8:-1])
        return None if part is None else 2 * part
    if element.startswith("!quant.uniform<"):
        return _bits(
            element[len("!quant.uniform<") :].split(":", maxsplit=1)[0].split("<", maxsplit=1)[0]
        )
    found = _ELEMENT.fullmatch(element)
    return int(found[2]) if found else None


def _scope(location: Any) -> str:
    """Return the name that JAX gave a value or an operation, "" where there is none."""
    found = _QUOTED.match(str(location))
    return "" if found is None or found[1] == "-" else found[1].replace('\\"', '"')


if __name__ == "__main__":
    main()
