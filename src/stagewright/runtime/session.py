# SPDX-License-Identifier: Apache-2.0
"""One stage's onnxruntime session, run on memory that is there already.

Inputs are read where they lie and outputs of known size are written where the next stage will read
them (I/O binding), so that the session itself copies nothing.  Element types that numpy has not are
handed over by address, as :mod:`.element_types` holds them.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..cost.ort_session import onnxruntime, providers_for, session_options
from ..errors import InputError
from .element_types import Element, element_of

__all__ = ["StageSession"]

_CPU: Final = "cpu"


class StageSession:
    """Runs a stage file.

    Parameters
    ----------
    path
        The stage file.
    threads, level
        As of :func:`~stagewright.cost.ort_session.session_options`.
    provider
        ``cpu`` or ``cuda``.
    reuse
        Keep one array per output for as long as the session: right where an output is copied on before
        the next item is computed.
    """

    def __init__(
        self, path: str, threads: int, level: str, provider: str = _CPU, *, reuse: bool = False
    ) -> None:
        ort = onnxruntime("Running a pipeline")
        self._session = ort.InferenceSession(
            path,
            session_options(threads, level),
            providers=providers_for(provider, "Running a pipeline"),
        )
        self._options = ort.RunOptions()
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input_types = {t.name: element_of(t.type) for t in inputs}
        self._outputs = {t.name: element_of(t.type) for t in outputs}
        elements = [*self._input_types.values(), *self._outputs.values()]
        # Strings, sequences and maps lie in objects, not in memory of known size.
        self._bindable = all(elements)
        if not self._bindable and any(e and e.number for e in elements):
            raise InputError(
                path,
                "only types that numpy has beside strings and sequences",
                ", ".join(sorted({t.type for t in (*inputs, *outputs)})),
                "Cut the model so that they cross between different stages.",
            )
        self._shapes = {t.name: t.shape for t in (*inputs, *outputs)}
        self._binding: Any = self._session.io_binding() if self._bindable else None
        self._own = self._own_outputs(outputs) if self._bindable and reuse else {}
        self._in_place = True

    def _own_outputs(self, outputs: Any) -> dict[str, npt.NDArray[Any]]:
        own = {}
        for tensor in outputs:
            element = self._outputs[tensor.name]
            # The runtime says [] of a scalar and of an unknown rank alike.
            if element and tensor.shape and all(isinstance(d, int) for d in tensor.shape):
                own[tensor.name] = np.empty(element.stored_shape(tensor.shape), element.dtype)
        return own

    def __call__(
        self, feeds: Mapping[str, Any], into: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, Any]:
        """Return the outputs by name; those in `into` are written there and returned as they are."""
        if self._binding is None:
            names = list(self._outputs)
            return dict(
                zip(names, self._session.run(names, dict(feeds), self._options), strict=True)
            )
        places = {**self._own, **into} if self._in_place else {}
        try:
            return self._run_bound(feeds, places)
        except Exception as fault:
            if not places or "shape" not in str(fault):
                raise
            # A size may not be what the model file promises; then the runtime has to choose.
            results = self._run_bound(feeds, {})
            self._in_place = False
            return results

    def _run_bound(
        self, feeds: Mapping[str, Any], places: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, Any]:
        binding = self._binding
        arrays = []
        for name, element in self._input_types.items():
            if element is None or name not in feeds:  # an initialiser that is listed as an input
                continue
            array = np.ascontiguousarray(feeds[name]).reshape(np.shape(feeds[name]))
            arrays.append(array)
            binding.bind_input(
                name, _CPU, 0, element.binding, self._shape(name, element, array), array.ctypes.data
            )
        for name, element in self._outputs.items():
            place = places.get(name)
            if element is None or place is None:
                binding.bind_output(name, _CPU)
            else:
                shape = self._shape(name, element, place)
                binding.bind_output(name, _CPU, 0, element.binding, shape, place.ctypes.data)
        self._session.run_with_iobinding(binding, self._options)
        results: dict[str, Any] = {}
        for (name, element), value in zip(
            self._outputs.items(), binding.get_outputs(), strict=True
        ):
            place = places.get(name)
            if place is not None and value.data_ptr() == place.ctypes.data:
                results[name] = place
                continue
            array = _array(value, element) if element else value.numpy()
            # A branch may hand its input through: that memory is about to be given back.
            if any(np.may_share_memory(array, given) for given in arrays):
                array = array.copy()
            results[name] = array
        return results

    def _shape(self, name: str, element: Element, array: npt.NDArray[Any]) -> list[int]:
        """Return the tensor's shape; a packed one's is what the file says."""
        return list(self._shapes[name] if element.packed else array.shape)

    def terminate(self, now: bool) -> None:
        """End the computation under way at its next operator, or allow computing again."""
        self._options.terminate = now


def _array(value: Any, element: Element) -> npt.NDArray[Any]:
    """Return what an OrtValue holds, in place; the array keeps it alive."""
    shape = element.stored_shape(value.shape())
    nbytes = math.prod(shape) * element.dtype.itemsize
    if not nbytes:
        return np.empty(shape, element.dtype)
    memory: Any = (ctypes.c_byte * nbytes).from_address(value.data_ptr())
    memory.owner = value
    array: npt.NDArray[Any] = np.frombuffer(memory, element.dtype)
    return array.reshape(shape)
