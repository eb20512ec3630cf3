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
_KEPT_BINDINGS: Final = 256


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
        elements = {t.name: element_of(t.type) for t in (*inputs, *outputs)}
        known = {name: element for name, element in elements.items() if element is not None}
        self._names = [t.name for t in outputs]
        # Strings, sequences and maps lie in objects, not in memory of known size.
        self._bindable = len(known) == len(elements)
        if not self._bindable and any(e.number for e in known.values()):
            raise InputError(
                path,
                "only types that numpy has beside strings and sequences",
                ", ".join(sorted({t.type for t in (*inputs, *outputs)})),
                "Cut the model so that they cross between different stages.",
            )
        self._shapes = {t.name: t.shape for t in (*inputs, *outputs)}
        self._input_types = {t.name: known[t.name] for t in inputs if t.name in known}
        self._outputs = {t.name: known[t.name] for t in outputs if t.name in known}
        self._kept: dict[Any, Any] = {}
        # Who keeps his own arrays is a process, which is killed rather than asked to end; and asking
        # costs some runtimes 30 us per run.
        self._given_options = None if reuse else self._options
        self._own = self._own_outputs(outputs) if self._bindable and reuse else {}
        self._in_place = True

    def _own_outputs(self, outputs: Any) -> dict[str, npt.NDArray[Any]]:
        own = {}
        for tensor in outputs:
            element = self._outputs[tensor.name]
            # The runtime says [] of a scalar and of an unknown rank alike.
            if tensor.shape and all(isinstance(d, int) for d in tensor.shape):
                own[tensor.name] = np.empty(element.stored_shape(tensor.shape), element.dtype)
        return own

    def __call__(
        self, feeds: Mapping[str, Any], into: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, Any]:
        """Return the outputs by name; those in `into` are written there and returned as they are."""
        if not self._bindable:
            values = self._session.run(self._names, dict(feeds), self._options)
            return dict(zip(self._names, values, strict=True))
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
        # One that is not there is an initialiser that is listed as an input.
        arrays = {n: _contiguous(feeds[n]) for n in self._input_types if n in feeds}
        key = None
        if len(places) == len(self._outputs):
            # The slots of rings come again and again: then binding is the dearer part of tiny stages.
            addresses = [(a.ctypes.data, a.shape) for a in (*arrays.values(), *places.values())]
            key = tuple(addresses)
            if (kept := self._kept.get(key)) is not None:
                self._session.run_with_iobinding(kept, self._given_options)
                return dict(places)
        binding = self._bound(arrays, places)
        self._session.run_with_iobinding(binding, self._given_options)
        results = self._results(binding, arrays, places)
        if key is not None and all(results[n] is place for n, place in places.items()):
            if len(self._kept) >= _KEPT_BINDINGS:
                self._kept.clear()
            self._kept[key] = binding
        return results

    def _bound(
        self, arrays: Mapping[str, npt.NDArray[Any]], places: Mapping[str, npt.NDArray[Any]]
    ) -> Any:
        binding = self._session.io_binding()
        for name, array in arrays.items():
            element = self._input_types[name]
            shape = self._shape(name, element, array)
            binding.bind_input(name, _CPU, 0, element.binding, shape, array.ctypes.data)
        for name, element in self._outputs.items():
            place = places.get(name)
            if place is None:
                binding.bind_output(name, _CPU)
            else:
                shape = self._shape(name, element, place)
                binding.bind_output(name, _CPU, 0, element.binding, shape, place.ctypes.data)
        return binding

    def _results(
        self,
        binding: Any,
        arrays: Mapping[str, npt.NDArray[Any]],
        places: Mapping[str, npt.NDArray[Any]],
    ) -> dict[str, Any]:
        results: dict[str, Any] = {}
        for (name, element), value in zip(
            self._outputs.items(), binding.get_outputs(), strict=True
        ):
            place = places.get(name)
            if place is not None and value.data_ptr() == place.ctypes.data:
                results[name] = place
                continue
            array = _array(value, element)
            # A branch may hand its input through: that memory is about to be given back.
            if any(np.may_share_memory(array, given) for given in arrays.values()):
                array = array.copy()
            results[name] = array
        return results

    def _shape(self, name: str, element: Element, array: npt.NDArray[Any]) -> list[int]:
        """Return the tensor's shape; a packed one's is what the file says."""
        return list(self._shapes[name] if element.packed else array.shape)

    def terminate(self, now: bool) -> None:
        """End the computation under way at its next operator, or allow computing again."""
        self._options.terminate = now


def _contiguous(value: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.asarray(value)
    # Not ascontiguousarray() of all: that gives a scalar an axis.
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


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
