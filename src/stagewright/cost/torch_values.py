# SPDX-License-Identifier: Apache-2.0
"""Real tensors for a program that was read on fake ones: its own where it has them, else random."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import LimitError
from .surroundings import available_memory

if TYPE_CHECKING:
    from ..readers.torch_program import WalkedProgram

__all__ = ["Given", "real_values"]

_SHARE: Final = 0.9
"""Fraction of the available memory that a program may take."""

_STORED: Final = ("PARAMETER", "BUFFER", "CONSTANT_TENSOR")


@dataclass(frozen=True)
class Given:
    """What a program is run on, one entry per placeholder.

    Attributes
    ----------
    values
        Tensors on the processor, and plain values.
    constant
        True for parameters, buffers and constants.
    shapes
        Shape of each input that is a tensor, by name.
    """

    values: list[Any]
    constant: list[bool]
    shapes: dict[str, tuple[int, ...]]


def real_values(found: WalkedProgram, item: str, seed: int) -> Given:
    """Return tensors with contents for everything a program is given.

    Weights that exist are used as they are, buffers and example inputs are copied, since runs may
    overwrite them.  All others are random: floats normal, scaled by the square root of what a row sums
    up (those of one axis are between 1/2 and 1, as scales and variances are), integers 0 or 1,
    truth values true.

    Raises
    ------
    LimitError
        If all that would not fit into memory, with the largest result that a node makes.
    """
    import torch

    specs = found.program.graph_signature.input_specs
    _check_memory(found, item)
    random = _Random(seed)
    examples: dict[str, Any] = dict(_examples(found.program))
    values, constant, shapes = [], [], {}
    for spec, fake in zip(specs, found.values, strict=True):
        stored = spec.kind.name in _STORED
        constant.append(stored)
        if not isinstance(fake, torch.Tensor):
            values.append(fake)
        elif stored:
            own = _stored(found.program, spec.target)
            values.append(random.like(own) if _is_empty(own) else _kept(own, spec.kind.name))
        else:
            shapes[spec.arg.name] = tuple(fake.shape)
            example = examples.get(spec.arg.name, fake)
            fits = example.shape == fake.shape and not _is_empty(example)
            values.append(example.detach().to("cpu", copy=True) if fits else random.like(fake))
    return Given(values, constant, shapes)


def _stored(program: Any, target: str) -> Any:
    state = program.state_dict
    return state[target] if target in state else program.constants[target]


def _kept(tensor: Any, kind: str) -> Any:
    """Return a stored tensor on the processor; its own storage only if it is a parameter."""
    return tensor.detach().to("cpu", copy=kind == "BUFFER")


def _is_empty(tensor: Any) -> bool:
    """Return True for tensors without contents."""
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(tensor, FakeTensor) or tensor.device.type == "meta"


def _examples(program: Any) -> Iterator[tuple[str, Any]]:
    """Yield the example inputs that a program keeps, by name."""
    from ..readers.torch_call import tensors_in

    kept = getattr(program, "example_inputs", None)
    names = [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind.name == "USER_INPUT" and type(spec.arg).__name__ == "TensorArgument"
    ]
    tensors = list(tensors_in(kept)) if kept else []
    if len(tensors) == len(names):
        yield from zip(names, tensors, strict=True)


def _check_memory(found: WalkedProgram, item: str) -> None:
    """Complain about programs that do not fit into memory."""
    import torch

    sizes: dict[Any, int] = {}
    specs = found.program.graph_signature.input_specs
    for i, (spec, fake) in enumerate(zip(specs, found.values, strict=True)):
        if not isinstance(fake, torch.Tensor):
            continue
        if spec.kind.name in _STORED:
            own = _stored(found.program, spec.target)
            if not _is_empty(own) and spec.kind.name == "PARAMETER":
                continue  # there already
            sizes[own.untyped_storage()._cdata] = own.untyped_storage().nbytes()
        else:
            sizes[i, "input"] = fake.numel() * fake.element_size()
    weights = sum(sizes.values())
    largest = max((sum(v.nbytes for v in step.makes) for step in found.walk.steps), default=0)
    room = available_memory()
    if room is not None and weights + largest > _SHARE * room:
        raise LimitError(
            f"{item}: measuring needs {_gib(weights)} for weights and inputs and {_gib(largest)} for the "
            f"largest result, but only {_gib(room)} of memory is available. Measure a smaller batch or "
            "length, fewer layers, or a smaller element type (--batch, --sequence, --dtype); or estimate "
            "with --device."
        )


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB"


class _Random:
    """Random tensors; tensors that share a storage get one that they share."""

    def __init__(self, seed: int) -> None:
        import torch

        self._generator = torch.Generator().manual_seed(seed)
        self._bases: dict[Any, tuple[Any, Any]] = {}

    def like(self, tensor: Any) -> Any:
        """Return a random tensor of the same type, shape and strides."""
        storage = tensor.untyped_storage()
        key = (storage._cdata, tensor.dtype)
        if key not in self._bases:
            count = -(-storage.nbytes() // tensor.element_size())
            # The storage is kept as well: its address must not be given away.
            self._bases[key] = (self._block(count, tensor), storage)
        base = self._bases[key][0]
        return base.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def _block(self, count: int, tensor: Any) -> Any:
        import torch

        kind = tensor.dtype
        if kind == torch.bool:
            return torch.ones(count, dtype=kind)
        if not (kind.is_floating_point or kind.is_complex):
            return torch.randint(0, 2, (count,), generator=self._generator).to(kind)
        if tensor.dim() < 2:
            return (0.5 + 0.5 * torch.rand(count, generator=self._generator)).to(kind)
        scale = 1 / math.sqrt(max(1, math.prod(tensor.shape[1:])))
        return (scale * torch.randn(count, generator=self._generator)).to(kind)
