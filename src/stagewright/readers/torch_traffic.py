# SPDX-License-Identifier: Apache-2.0
"""Bytes that PyTorch operators move: what they read (parameters too) plus what they write.

An expanded tensor is read once, and a tensor named twice too.  Fused attention reads queries, keys,
values and mask and writes its result; the scores stay on the chip.
"""

from __future__ import annotations

from typing import Any, Final

from .onnx_types import words
from .torch_call import TorchCall, tensors_in
from .torch_region import Region

__all__ = ["bytes_of"]

_PARTIAL: Final = frozenset(
    words(
        "embedding gather index index_select select_copy slice_copy split_copy narrow_copy "
        "split_with_sizes_copy take take_along_dim _unsafe_index embedding_renorm"
    )
)
"""Operators that read of their table only the rows that they write."""

_INTO: Final = frozenset(
    words(
        "index_copy index_put scatter scatter_add scatter_reduce index_add index_fill slice_scatter "
        "select_scatter masked_scatter diagonal_scatter _index_put_impl _unsafe_index_put put"
    )
)
"""Operators that write their updates over a part of the first argument."""

_OVERWRITES: Final = frozenset(words("copy fill zero normal uniform bernoulli random set"))
"""Operators that, in place, write without reading what was there."""


def bytes_of(call: TorchCall) -> int:
    """Return the bytes that one call moves."""
    written = {id(t) for name in call.writes for t in tensors_in(call.values.get(name))}
    inputs = call.tensors
    if call.op in _PARTIAL:
        table = call.get("weight", "self")
        rest = sum(_size(t) for t in inputs if t is not table)
        return 2 * _total(call.outputs) + rest
    if call.op in _INTO:
        # In place only the updates are read and written; else the whole is copied first.
        target = call.get("self", "input")
        updates = sum(_size(t) for t in inputs if t is not target)
        moved = _part(call, target)
        return updates + moved + (0 if written else 2 * _size(target))
    if call.op in ("embedding_bag", "_embedding_bag"):
        rows = int(call.get("indices").numel()) * int(call.get("weight").shape[-1])
        return rows * int(call.get("weight").element_size()) + _total(call.outputs[:1])
    if written:
        skip = written if call.op in _OVERWRITES else set()
        read = sum(_size(t) for t in inputs if id(t) not in skip)
        fresh = [t for t in call.outputs if id(t) not in written]
        return read + sum(_size(t) for t in inputs if id(t) in written) + _fresh(fresh, inputs)
    return sum(_size(t) for t in inputs) + _total(call.outputs)


def _part(call: TorchCall, target: Any) -> int:
    """Return the bytes of the part of the target that is written."""
    source = call.get("src", "source", "values", "updates")
    if source is not None and hasattr(source, "numel") and source.numel() > 1:
        return _size(source)
    index = call.get("index", "indices")
    width = int(target.element_size()) if target is not None else 0
    counts = [int(t.numel()) for t in tensors_in(index)]
    return max(counts, default=0) * width


def _fresh(outputs: list[Any], inputs: list[Any]) -> int:
    known = {t.untyped_storage()._cdata for t in inputs}
    return sum(_size(t) for t in outputs if t.untyped_storage()._cdata not in known)


def _total(tensors: Any) -> int:
    return sum(_size(t) for t in tensors)


def _size(tensor: Any) -> int:
    return Region.of(tensor).nbytes
