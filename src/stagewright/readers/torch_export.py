# SPDX-License-Identifier: Apache-2.0
"""Modules to exported programs, on fake tensors, and the first cause when that fails."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import InputError, LimitError, MissingDependencyError, ModelError

__all__ = ["export_module", "first_cause", "require_torch"]

_HINTS = (
    ("GuardOnDataDependent", "The code branches on the content of a tensor: use torch.where() or torch.cond()."),
    ("DataDependentOutput", "A size depends on the content of a tensor: state its limit with torch._check()."),
    ("DynamicOutputShape", "A size depends on the content of a tensor: pad to a fixed size."),
    ("cannot be called on meta", "The code reads a number from a tensor: keep it a Python number."),
    ("on meta tensors", "The code reads a number from a tensor: keep it a Python number."),
    ("allow_non_fake_inputs", "A tensor is neither an input, a parameter nor a buffer: register it as a buffer."),
    ("Unhandled FakeTensor Device", "Tensors are on different devices: move the module and its inputs to one."),
    ("on the same device", "Tensors are on different devices: move the module and its inputs to one."),
    ("no fake impl registered", "Register a fake implementation with torch.library.register_fake()."),
    ("doesn't have a meta", "Register a fake implementation with torch.library.register_fake()."),
    ("Attempting to broadcast", "Shapes do not fit: check the shapes of the example inputs."),
    ("reduction dim", "Shapes do not fit: check the shapes of the example inputs."),
    ("shape", "Check the shapes of the example inputs."),
    ("missing", "Give every input that forward() needs."),
    ("unexpected keyword", "Give inputs by the names that forward() takes."),
)  # fmt: skip
"""What to do, by a part of the error's name or text; the first that fits."""


def require_torch(purpose: str) -> None:
    """Check that PyTorch is installed.

    Raises
    ------
    MissingDependencyError
    """
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("torch", "torch", purpose)


def export_module(
    module: Any,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    item: str | None = None,
) -> Any:
    """Export a module by tracing it on fake tensors; no weight is copied, computed or needed.

    The module is traced as it stands (`eval()` or not), without gradients.  If its parameters are on the
    meta device, the inputs are taken there too.

    Returns
    -------
    program
        A ``torch.export.ExportedProgram`` whose composite operators (linear, attention, normalisations,
        convolutions) are whole.

    Raises
    ------
    ModelError
        If the module cannot be exported: the first cause, the operator, the module and the line that
        it came from, and what to do.
    """
    import torch

    item = item or f"module {type(module).__name__}"
    args, kwargs = tuple(args), dict(kwargs or {})
    parameters = [*module.parameters(), *module.buffers()]
    if parameters and all(p.device.type == "meta" for p in parameters):
        args, kwargs = _to_meta(args), _to_meta(kwargs)
    try:
        with _quiet_fastpath(), torch.no_grad():
            return torch.export.export(module, args, kwargs, strict=False)
    except RecursionError:
        raise LimitError(f"{item}: the module nests too deeply to be exported") from None
    except Exception as error:
        raise first_cause(error, module, item) from error


def _to_meta(value: Any) -> Any:
    import torch
    from torch.utils._pytree import tree_map

    return tree_map(lambda v: v.to("meta") if isinstance(v, torch.Tensor) else v, value)


@contextmanager
def _quiet_fastpath() -> Iterator[None]:
    """Switch off the fused encoder kernels, which have no fake form, and torch's own log lines."""
    import logging

    import torch

    enabled = torch.backends.mha.get_fastpath_enabled()
    logger = logging.getLogger("torch")
    level = logger.level
    torch.backends.mha.set_fastpath_enabled(False)
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
        logger.setLevel(level)


def first_cause(error: BaseException, module: Any, item: str) -> ModelError:
    """Return a message made of the first error in the chain that led to `error`."""
    chain = [error]
    seen = {id(error)}
    while True:
        earlier = chain[-1].__cause__ or chain[-1].__context__
        if earlier is None or id(earlier) in seen:
            break
        seen.add(id(earlier))
        chain.append(earlier)
    # Errors that torch catches and handles on its way are context without being the cause.
    first = next((e for e in reversed(chain) if _place(e, module).line), chain[0])
    place = _place(first, module)
    kind = type(first).__name__
    # The last error of the chain often adds what data the first depended on.
    texts = " ".join(f"{type(e).__name__}: {e}" for e in chain)
    lines = [line.strip() for line in str(first).strip().splitlines() if line.strip()]
    got = f"{kind}: {lines[0][:300]}" if lines else kind
    where = [f"operator '{place.operator}'" if place.operator else ""]
    where += [f"in module '{place.path}'" if place.path else "", place.line]
    hint = next((text for key, text in _HINTS if key in texts), "")
    found = ", ".join(part for part in where if part)
    return ModelError(
        f"{item}: torch.export" + (f", {found}" if found else ""),
        "a module that can be traced on fake tensors",
        got,
        hint or "Run torch.export.export() on it alone to see the whole trace.",
    )


class _Place:
    """Where an error arose: the innermost line outside torch, its module, and the operator."""

    def __init__(self, line: str = "", path: str = "", operator: str = "") -> None:
        self.line, self.path, self.operator = line, path, operator


def _place(error: BaseException, module: Any) -> _Place:
    import os

    import torch

    torch_folder = os.path.dirname(torch.__file__) + os.sep  # noqa: PTH120 - compared as text
    own = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - compared as text
    paths = {id(m): name for name, m in module.named_modules()} if module is not None else {}
    place = _Place()
    for frame, number in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        local = frame.f_locals
        func = local.get("func")
        if isinstance(func, torch._ops.OpOverload):
            place.operator = func._schema.name.replace("::", ".")
        owner = local.get("self")
        if id(owner) in paths and hasattr(owner, "_parameters"):
            place.path = paths[id(owner)] or place.path
        if not file.startswith((torch_folder, own, "<")):
            summary = traceback.FrameSummary(file, number, frame.f_code.co_name)
            code = f": {summary.line}" if summary.line else ""
            place.line = f"{os.path.basename(file)} line {number}{code}"  # noqa: PTH119 - a text
    return place


def require_inputs(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword inputs of what a user gave as examples.

    Raises
    ------
    InputError
        If nothing was given.
    """
    import torch

    if example_inputs is None:
        raise InputError(
            "example_inputs",
            "a tuple of tensors, or a dict of tensors by name",
            "None",
            "Tensors on the meta device do: torch.empty(1, 3, 224, 224, device='meta').",
        )
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, (list, tuple)):
        return tuple(example_inputs), {}
    raise InputError(
        "example_inputs",
        "a tuple of tensors, or a dict of tensors by name",
        type(example_inputs).__name__,
    )
