# SPDX-License-Identifier: Apache-2.0
"""Microbatches: one request's batch, cut along its first axis into parts that follow each other.

Several stages then work on one request at the same time.  A model whose batch is a symbolic size takes any
batch; one of fixed batch b takes multiples of b in parts of b.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..splitting.manifest import TensorType

__all__ = ["Batches", "joined"]

_BATCH = "batch"


class Batches:
    """How requests are cut into parts.

    Parameters
    ----------
    inputs, outputs
        The model's.
    size
        Most rows of a part; for a model of fixed batch just that batch.

    Raises
    ------
    InputError
        If the model has no batch to cut along, or an output could not be put together again.
    """

    def __init__(
        self, inputs: Sequence[TensorType], outputs: Sequence[TensorType], size: int
    ) -> None:
        first = {_first(t) for t in inputs} - {None}
        symbols = {axis for axis in first if isinstance(axis, str)}
        batch = next(iter(symbols)) if len(symbols) == 1 else size
        if len(symbols) > 1 or (not symbols and size not in first):
            raise InputError(
                "microbatch",
                "a model with one symbolic size as first axis of inputs, or with that batch",
                f"{size} for inputs whose first axes are {_listed(inputs)}",
            )
        for output in outputs:
            if _first(output) != batch:
                raise InputError(
                    "microbatch",
                    f"outputs whose first axis is the batch ({batch})",
                    f"output '{output.name}' of shape {_shape(output)}",
                )
        self._cut = [t.name for t in inputs if _first(t) == batch]
        self._size, self._fixed = size, not symbols
        self.inputs = tuple(
            replace(t, shape=(_BATCH, *(t.shape or ())[1:]))
            if self._fixed and t.name in self._cut
            else t
            for t in inputs
        )

    def parts(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the inputs of each part, in order; at least one.

        Raises
        ------
        InputError
            If the model's batch is fixed and the request's is no multiple of it.
        """
        rows = len(values[self._cut[0]])
        if self._fixed and (not rows or rows % self._size):
            raise InputError(
                f"input '{self._cut[0]}'", f"a multiple of {self._size} rows", str(rows)
            )
        return [
            {
                name: value[start : start + self._size] if name in self._cut else value
                for name, value in values.items()
            }
            for start in range(0, max(rows, 1), self._size)
        ]


def _first(tensor: TensorType) -> str | int | None:
    return tensor.shape[0] if tensor.shape and tensor.type.startswith("tensor(") else None


def _shape(tensor: TensorType) -> str:
    shape = tensor.shape
    return (
        "unknown"
        if shape is None
        else f"[{', '.join('?' if d is None else str(d) for d in shape)}]"
    )


def _listed(tensors: Sequence[TensorType]) -> str:
    return ", ".join(f"'{t.name}': {_first(t)}" for t in tensors) or "none"


def joined(parts: Sequence[Future[dict[str, Any]]]) -> Future[dict[str, Any]]:
    """Return a future of the parts' outputs put together, or of the first part's fault."""
    whole: Future[dict[str, Any]] = Future()
    whole.set_running_or_notify_cancel()
    left, lock = [len(parts)], threading.Lock()

    def done(_: Future[dict[str, Any]]) -> None:
        with lock:
            left[0] -= 1
            if left[0]:
                return
        fault = next((e for p in parts if (e := p.exception()) is not None), None)
        if fault is not None:
            whole.set_exception(fault)
            return
        results = [p.result() for p in parts]
        whole.set_result({name: np.concatenate([r[name] for r in results]) for name in results[0]})

    for part in parts:
        part.add_done_callback(done)
    return whole
