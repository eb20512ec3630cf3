# SPDX-License-Identifier: Apache-2.0
"""Exported programs as flat lists of calls that run again and again, with a clock at each node.

The calls are those that the reader walked, in the same order, so that each knows the node it became.
What depends on no input ran when the model was loaded and is not run again; views and numbers read off
shapes run, but belong to no node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import ModelError
from ..readers.torch_call import base_name, tensors_in
from ..readers.torch_control import is_wrapper, operator_name, unwrapped
from ..units import TIME_UNITS
from .node_times import Kernel, TracedRun

__all__ = ["Tape"]

_PS_PER_NS: Final = TIME_UNITS["ns"]
_NO_WORK: Final = frozenset(
    ("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range",
     "sym_constrain_range_for_size", "_enter_autocast", "_exit_autocast")
)  # fmt: skip
"""Calls that check or announce something: the reader leaves them out as well."""


@dataclass(frozen=True)
class _Slot:
    """Where a value is kept."""

    index: int


@dataclass
class _Call:
    """One call: what it runs, where its result goes, and which slots nobody reads afterwards.

    `kernel` is the node that it became, None for a view, a number or what nothing needs.
    """

    target: Callable[..., Any]
    args: Any
    kwargs: Any
    out: int
    name: str
    kernel: Kernel | None
    walked: int | None
    frees: list[int] = field(default_factory=list)


class Tape:
    """A program on real tensors.

    Parameters
    ----------
    item
        The model, for messages.
    module
        The graph module of the program.
    inputs
        Real tensors and plain values, one per placeholder.
    constant
        Which of these do not change from one inference to the next: parameters and buffers.
    walked
        Each call that the reader saw and the index of its step, None for no step.
    names
        Name of the node of each step, None for those that nothing needs.

    Raises
    ------
    ModelError
        If the program does not run; the message names the operator and its module.
    """

    def __init__(
        self,
        item: str,
        module: Any,
        inputs: Sequence[Any],
        constant: Sequence[bool],
        walked: Sequence[tuple[Any, int | None]],
        names: Sequence[str | None],
    ) -> None:
        self.item = item
        self._walked = iter(walked)
        self._names = names
        self._values: list[Any] = []
        self._fixed: list[bool] = []
        self._calls: list[_Call] = []
        self._inputs = set(range(len(inputs)))
        slots = [self._keep(v, fixed) for v, fixed in zip(inputs, constant, strict=True)]
        self._result = _on_cpu(self._record(module, slots))
        self._load()
        self._leave_out_unneeded()
        self._plan_frees()
        self._saved: list[tuple[Any, Any]] = []
        self._guard_contents()

    @property
    def kernels(self) -> list[Kernel]:
        """The nodes that run, in order."""
        return [call.kernel for call in self._calls if call.kernel is not None]

    # --- recording -----------------------------------------------------------------------------

    def _keep(self, value: Any, fixed: bool) -> _Slot:
        self._values.append(value)
        self._fixed.append(fixed)
        return _Slot(len(self._values) - 1)

    def _record(self, module: Any, inputs: Sequence[Any]) -> Any:
        """Add the calls of a graph module; return its output with slots for values."""
        from torch.fx.node import map_arg

        env: dict[Any, Any] = {}
        given = iter(inputs)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                env[node] = next(given)
            elif node.op == "get_attr":
                env[node] = self._attribute(module, node.target)
            elif node.op == "output":
                return map_arg(node.args[0], env.__getitem__)
            else:
                args = map_arg(node.args, env.__getitem__)
                kwargs = map_arg(node.kwargs, env.__getitem__)
                if is_wrapper(node.target):
                    env[node] = self._record(*unwrapped(node.target, args))
                else:
                    env[node] = self._add(node, args, kwargs)
        return None

    def _attribute(self, module: Any, target: str) -> Any:
        import torch

        value: Any = module
        for part in target.split("."):
            value = getattr(value, part)
        return self._keep(value, True) if isinstance(value, torch.Tensor) else value

    def _add(self, node: Any, args: Any, kwargs: Any) -> Any:
        import operator

        walked, step = next(self._walked)
        if walked is not node:
            raise ModelError(
                f"{self.item}: {node.name}",
                "the call that was read",
                str(walked.name),
                "Report it.",
            )
        if node.target is operator.getitem and not isinstance(args[0], _Slot):
            return args[0][args[1]]  # of what a wrapper returns
        own = None if step is None else self._names[step]
        name = _name_of(node.target)
        out = self._keep(None, False)
        self._calls.append(
            _Call(
                _runnable(node.target, name),
                _on_cpu(args),
                _on_cpu(kwargs),
                out.index,
                name,
                None if own is None else (own, name, 0),
                step,
            )
        )
        return out

    # --- the first run -------------------------------------------------------------------------

    def _load(self) -> None:
        """Run everything once; what depends on no input is kept and leaves the list."""
        remaining = []
        for call in self._calls:
            values = self._call(call)
            self._values[call.out] = values
            inputs = [s.index for s in _slots((call.args, call.kwargs))]
            number = not any(True for _ in tensors_in([values]))
            fixed = call.walked is None and (number or all(self._fixed[i] for i in inputs))
            self._fixed[call.out] = fixed
            if not fixed:
                remaining.append(call)
        self._calls = remaining

    def _leave_out_unneeded(self) -> None:
        """Take out the nodes that nothing needs, and the views of what they make."""
        gone: set[int] = set()
        kept = []
        for call in self._calls:
            needs = {s.index for s in _slots((call.args, call.kwargs))}
            if call.kernel is None and (call.walked is not None or needs & gone):
                gone.add(call.out)
            else:
                kept.append(call)
        self._calls = kept

    def _plan_frees(self) -> None:
        """Note after which call each value may go, as in a program that drops its names."""
        made = {call.out for call in self._calls}
        read = {s.index for c in self._calls for s in _slots((c.args, c.kwargs))}
        results = {slot.index for slot in _slots(self._result)}
        stay = results | ((read | self._inputs) - made)
        self._values = [v if i in stay else None for i, v in enumerate(self._values)]
        last: dict[int, _Call] = {}
        for call in self._calls:
            for slot in _slots((call.args, call.kwargs)):
                last[slot.index] = call
            last.setdefault(call.out, call)
        for index, call in last.items():
            if index not in stay:
                call.frees.append(index)

    def _guard_contents(self) -> None:
        """Find out what a run overwrites and copy it: all later runs start from the same contents."""
        kept = list(tensors_in([v for v in self._values if v is not None]))
        before = [tensor._version for tensor in kept]
        self.run()
        self._saved = [
            (tensor, tensor.detach().clone())
            for tensor, version in zip(kept, before, strict=True)
            if tensor._version != version
        ]

    def restore(self) -> None:
        """Give everything that runs overwrite its content again; call it before each run."""
        for tensor, content in self._saved:
            tensor.detach().copy_(content)

    # --- running -------------------------------------------------------------------------------

    def run(self) -> Any:
        """Run the program; return its output."""
        values = self._values
        for call in self._calls:
            values[call.out] = self._call(call)
            for index in call.frees:
                values[index] = None
        return _filled(self._result, values)

    def traced(self) -> TracedRun:
        """Run the program with a clock at every node."""
        values, clock = self._values, time.perf_counter_ns
        kernels: dict[Kernel, int] = {}
        begin = clock()
        for call in self._calls:
            if call.kernel is None:
                values[call.out] = self._call(call)
            else:
                started = clock()
                values[call.out] = self._call(call)
                kernels[call.kernel] = (clock() - started) * _PS_PER_NS
            for index in call.frees:
                values[index] = None
        return TracedRun((clock() - begin) * _PS_PER_NS, kernels)

    def _call(self, call: _Call) -> Any:
        args = _filled(call.args, self._values)
        kwargs = _filled(call.kwargs, self._values) if call.kwargs else {}
        try:
            return call.target(*args, **kwargs)
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            where = f" of node '{call.kernel[0]}'" if call.kernel else ""
            raise ModelError(
                f"{self.item}: operator '{call.name}'{where}",
                "one that runs on this processor with random contents",
                lines[0][:300],
                "Give example inputs or weights whose values fit.",
            ) from error


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    """Do nothing."""


def _runnable(target: Any, name: str) -> Callable[..., Any]:
    """Return what to call: checks are left out, and so is a detachment that views refuse."""
    import torch

    if name in _NO_WORK:
        return _nothing
    detaches = target is torch.ops.aten.detach_.default
    found: Callable[..., Any] = torch.ops.aten.alias.default if detaches else target
    return found


def _name_of(target: Any) -> str:
    import torch

    if isinstance(target, torch._ops.HigherOrderOperator):
        return operator_name(target)
    if isinstance(target, torch._ops.OpOverload):
        return base_name(target)
    return str(getattr(target, "__name__", target))


def _on_cpu(value: Any) -> Any:
    """Return arguments with every device replaced by the processor: programs are read on others."""
    import torch

    if isinstance(value, torch.device):
        return torch.device("cpu")
    return _mapped(value, _on_cpu)


def _filled(value: Any, values: Sequence[Any]) -> Any:
    """Return a structure with values for slots."""
    if type(value) is _Slot:
        return values[value.index]
    if type(value) in (tuple, list, dict, slice):
        return _mapped(value, lambda inner: _filled(inner, values))
    return value


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return lists, tuples and dicts with their elements changed; fx has its own kinds of them."""
    if isinstance(value, tuple):
        return tuple(change(v) for v in value)
    if isinstance(value, list):
        return [change(v) for v in value]
    if isinstance(value, Mapping):
        return {k: change(v) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(change(value.start), change(value.stop), change(value.step))
    return value


def _slots(value: Any) -> Iterator[_Slot]:
    """Yield the slots in a structure."""
    if isinstance(value, _Slot):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _slots(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _slots(inner)
    elif isinstance(value, slice):
        yield from _slots((value.start, value.stop, value.step))
