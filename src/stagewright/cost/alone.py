# SPDX-License-Identifier: Apache-2.0
"""Measuring one kernel alone, in conditions like those inside a model.

A model of several copies of the kernel runs, and the time of a run is divided by the copies.  So there
is no tracing to correct for, and what the runtime spends between kernels is included, as it is in a
model.  Two things decide where data comes from, and are imitated:

- the parameters: each copy has its own.  In a model whose parameters fit the largest cache they stay
  there from one inference to the next (`cached`), else every inference streams them from memory
  (`streamed`); the copies together take a quarter of that cache, or twice of it.
- the tensors: a copy reads what the one before has just written where types and shapes
  allow it, so that the runtime may also work in place; else all copies read one tensor.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..units import TIME_UNITS
from .kernels import VIEWS, Argument, KernelCall
from .ort_session import onnxruntime, providers_for, session_options
from .steady import Patience, Steady, measure_steady

__all__ = ["Bench", "UnmeasurableError"]

_MOST_COPIES: Final = 24
_FEWEST_COPIES: Final = 6
_MOST_BYTES: Final = 768 * 2**20
"""Most bytes of all copies' parameters and outputs together."""
_BLOCK: Final = 2**18
_MODEL_LIMIT: Final = 1900 * 2**20
"""A protobuf message holds less than 2 GiB."""


class UnmeasurableError(Exception):
    """The runtime refuses to run the kernel alone."""


@dataclass
class Bench:
    """Where kernels are measured.

    Attributes
    ----------
    threads, provider
        As the sessions of a stage get them.
    streamed
        Whether parameters come from memory, not from a cache.
    cache
        Bytes of the largest cache.
    patience
        When to stop repeating.
    """

    threads: int
    provider: str
    streamed: bool
    cache: int
    patience: Patience
    _empty: int | None = None

    def measure(self, call: KernelCall) -> Steady:
        """Return the time of one call of a kernel.

        Raises
        ------
        UnmeasurableError
            If the runtime does not run it outside its model.
        """
        copies = self.copies(call)
        found = self._run(call, copies)
        # What a run costs besides kernels is in no kernel's time.
        base = self._run_overhead()
        share = [max(0, ps - base) // copies for ps in (found.median, found.low, found.high)]
        return Steady(share[0], share[1], share[2], found.runs, found.warmup)

    def copies(self, call: KernelCall) -> int:
        """Return how many copies of a kernel run in one model."""
        weights = call.weight_bytes
        wanted = (2 * self.cache if self.streamed else self.cache // 4) // max(weights, 1)
        outputs = sum(Argument(elem, shape).nbytes for elem, shape in call.outputs)
        room = _MOST_BYTES // max(weights + outputs, 1)
        return max(1, min(_MOST_COPIES, max(_FEWEST_COPIES, wanted), room))

    def _run_overhead(self) -> int:
        """Return the picoseconds of a run with next to nothing to do, less one kernel."""
        if self._empty is None:
            from onnx import helper

            tiny = Argument(1, (1,))
            call = KernelCall(helper.make_node("Neg", ["x"], ["y"]), 13, (tiny,), ((1, (1,)),))
            one, many = (self._run(call, n).median for n in (1, 1 + _MOST_COPIES))
            self._empty = max(0, one - max(0, many - one) // _MOST_COPIES)
        return self._empty

    def _run(self, call: KernelCall, copies: int) -> Steady:
        """Return the time of a run of `copies` copies."""
        ort = onnxruntime("Measuring kernels")
        rng = np.random.default_rng(0)
        try:
            model, feeds = _copies_model(call, copies, rng)
            options = session_options(self.threads, "disabled")
            session = ort.InferenceSession(
                model, options, providers=providers_for(self.provider, "Measuring kernels")
            )
            binding = session.io_binding()
            for name, array in feeds.items():
                binding.bind_cpu_input(name, array) if self.provider == "cpu" else (
                    binding.bind_ortvalue_input(
                        name, ort.OrtValue.ortvalue_from_numpy(array, self.provider, 0)
                    )
                )
            for output in session.get_outputs():
                binding.bind_output(output.name, self.provider)
            # One thread on a processor: its time, which other programs disturb little.
            by_processor = self.threads == 1 and self.provider == "cpu"
            clock = time.process_time_ns if by_processor else time.perf_counter_ns

            def run() -> int:
                begin = clock()
                session.run_with_iobinding(binding)
                return (clock() - begin) * TIME_UNITS["ns"]

            return measure_steady(run, self.patience)
        except Exception as error:  # the runtime's exceptions share no other base
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise UnmeasurableError(f"{call.op} {call.shapes}: {lines[0]}") from error


def _copies_model(
    call: KernelCall, copies: int, rng: np.random.Generator
) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """Return a model of `copies` copies of a kernel, and what to feed it."""
    from onnx import helper, numpy_helper

    if call.op in VIEWS:
        call = _view(call)
    feeds, infos, stored, nodes = {}, [], [], []
    for i, argument in enumerate(call.inputs):
        if argument.elem and not argument.constant:
            feeds[f"x{i}"] = _random(argument, rng)
            infos.append(helper.make_tensor_value_info(f"x{i}", argument.elem, argument.shape))
    chained = _chained_input(call)
    content = [_parameter(a, rng) if a.constant else None for a in call.inputs]
    total = copies * sum(c.nbytes for c in content if c is not None)
    if total > _MODEL_LIMIT:
        raise ValueError(f"parameters of {total} bytes")
    last = ""
    for copy in range(copies):
        names = []
        for i, argument in enumerate(call.inputs):
            if not argument.elem:
                names.append("")
            elif (array := content[i]) is not None:
                names.append(f"w{i}_{copy}")
                stored.append(numpy_helper.from_array(array, names[-1]))
            else:
                names.append(last if i == chained and last else f"x{i}")
        outputs = [f"y{copy}_{i}" if name else "" for i, name in enumerate(call.node.output)]
        node = type(call.node)()
        node.CopyFrom(call.node)
        node.name, node.input[:], node.output[:] = f"copy{copy}", names, outputs
        nodes.append(node)
        last = next(name for name in outputs if name)
    elem, shape = call.outputs[0]
    result = helper.make_tensor_value_info(last, elem, shape)
    graph = helper.make_graph(nodes, "copies", infos, [result], stored)
    domains = {"": 17 if call.node.domain else call.version, call.node.domain: call.version}
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(d, v) for d, v in domains.items()], ir_version=8
    )
    return model.SerializeToString(), feeds


def _view(call: KernelCall) -> KernelCall:
    """Return a small Reshape in place of any view: their time does not depend on the size."""
    from onnx import TensorProto, helper, numpy_helper

    target = numpy_helper.from_array(np.array([64], np.int64), "shape")
    inputs = (
        Argument(TensorProto.FLOAT, (64,)),
        Argument(TensorProto.INT64, (1,), True, target.SerializeToString()),
    )
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    return KernelCall(node, 14, inputs, ((TensorProto.FLOAT, (64,)),))


def _chained_input(call: KernelCall) -> int:
    """Return the input that the copy before makes, -1 for none.

    The last that fits: where a convolution adds a tensor into its output, that tensor comes last.
    """
    fitting = [
        i
        for i, argument in enumerate(call.inputs)
        if not argument.constant and (argument.elem, argument.shape) == call.outputs[0]
    ]
    return fitting[-1] if fitting else -1


def _parameter(argument: Argument, rng: np.random.Generator) -> npt.NDArray[Any]:
    from onnx import TensorProto, numpy_helper

    if argument.content is None:
        return _random(argument, rng)
    tensor = TensorProto()
    tensor.ParseFromString(argument.content)
    return numpy_helper.to_array(tensor)


def _random(argument: Argument, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return random content: floats so small that chains of products keep their size."""
    from onnx import helper

    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(argument.elem))
    shape: Sequence[int] = argument.shape
    if dtype.kind in "iu":
        high = 100 if dtype.itemsize == 1 else 2
        return rng.integers(0, high, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "SOU":
        raise ValueError("texts")
    fan = max(1, int(np.prod(shape[1:]))) if argument.constant and len(shape) > 1 else 1
    # A repeated block: drawing hundreds of megabytes would take longer than the measurement.
    block = rng.standard_normal(min(int(np.prod(shape)), _BLOCK), np.float32)
    return np.resize((block / np.sqrt(np.float32(fan))).astype(dtype), shape)
