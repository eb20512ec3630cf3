# SPDX-License-Identifier: Apache-2.0
"""What a walked program calls, with the contents that every call reads and makes.

A value is a tensor object; its storage may be written later, so that what a call reads is a value *and* a
version of its storage.  Splitting needs both: the value says how to address the bytes, the version who made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelError
from ..readers.torch_call import tensors_in
from ..readers.torch_control import is_wrapper, operator_name
from ..readers.torch_walk import Version, Walk, module_path

__all__ = ["Call", "Recorder", "Value"]


@dataclass(eq=False)
class Call:
    """One call of an operator.

    Attributes
    ----------
    node
        Its node in the exported program.
    args, kwargs
        What it is given; tensors are the fake ones of the walk.
    reads
        Version of each tensor among these when the call began, by the tensor's identity.
    makes
        Versions that it wrote.
    step
        Index of the walk's step that it became; None for views and constants.
    """

    node: Any
    args: Any
    kwargs: Any
    reads: dict[int, Version]
    result: Any = None
    makes: list[Version] = field(default_factory=list)
    step: int | None = None

    @property
    def tensors(self) -> list[Any]:
        """All tensors that it is given."""
        return list(tensors_in((self.args, self.kwargs)))


@dataclass(frozen=True, eq=False)
class Value:
    """Where a tensor object comes from: a call and the place in its result, or something given (by name).

    Attributes
    ----------
    tensor
        The fake tensor.
    call, place
        The call that returned it first, and the indices that lead to it in the result; None for what
        the program is given.
    viewed
        The value whose storage this one addresses in another way; None if it has its own.
    born
        Version of its storage when it came to be.
    """

    tensor: Any
    call: Call | None
    place: tuple[int, ...]
    viewed: Value | None
    born: Version

    @property
    def origin(self) -> Value:
        """The value at the end of the chain of views."""
        value = self
        while value.viewed is not None:
            value = value.viewed
        return value


class Recorder(Walk):
    """A walk that keeps every call.

    Attributes
    ----------
    record
        The calls that made a value or a version, in order.
    values
        Every value, by the identity of its tensor.
    names
        The names of what the program is given, by the identity of their tensors.
    attributes
        The tensors that the program itself holds, by the identity of their fakes.
    makers
        The call that made a version, by the version's identity; what the program is given has none.
    storages
        The storage of each version, by the version's identity.
    returned
        What the program returns, once it was walked.
    """

    def __init__(self, item: str, mode: Any, symbols: Mapping[Any, int] | None = None) -> None:
        super().__init__(item, mode, symbols)
        self.record: list[Call] = []
        self.values: dict[int, Value] = {}
        self.names: dict[int, str] = {}
        self.attributes: dict[int, Any] = {}
        self.makers: dict[int, Call] = {}
        self.storages: dict[int, int] = {}
        self.returned: Any = None

    def give(self, tensor: Any, *, name: str, resident: bool, constant: bool) -> None:
        """Introduce a tensor that the program is given."""
        super().give(tensor, name=name, resident=resident, constant=constant)
        self.values[id(tensor)] = Value(tensor, None, (), None, self.version_of(tensor))
        self.names[id(tensor)] = name
        self.storages[id(self.version_of(tensor))] = self._key(tensor)

    def run(self, module: Any, inputs: Sequence[Any]) -> Any:
        """Run a graph module; that of the program itself ends last."""
        self.returned = super().run(module, inputs)
        return self.returned

    def _attribute(self, module: Any, target: str) -> Any:
        import torch

        found = super()._attribute(module, target)
        if isinstance(found, torch.Tensor):
            value: Any = module
            for part in target.split("."):
                value = getattr(value, part)
            self.attributes[id(found)] = value
        return found

    def _call(self, node: Any, args: Any, kwargs: Any) -> Any:
        self._refuse_autocast(node, args)
        if is_wrapper(node.target):
            return super()._call(node, args, kwargs)
        given = list(tensors_in((args, kwargs)))
        call = Call(node, args, kwargs, {id(t): self.version_of(t) for t in given})
        before = {self._key(t): self.version_of(t) for t in given}
        steps = len(self.steps)
        call.result = super()._call(node, args, kwargs)
        call.step = steps if len(self.steps) > steps else None
        # An operator in place returns what it was given, which is no new value.
        fresh = [(place, t) for place, t in _placed(call.result) if id(t) not in self.values]
        for key in dict.fromkeys(self._key(t) for t in (*given, *(t for _, t in fresh))):
            version = self.versions[key]
            if version is not before.get(key):
                call.makes.append(version)
                self.makers[id(version)] = call
                self.storages[id(version)] = key
        for place, tensor in fresh:
            viewed = self._viewed(tensor, given)
            self.values[id(tensor)] = Value(tensor, call, place, viewed, self.version_of(tensor))
        if fresh or call.makes:
            self.record.append(call)
        return call.result

    def _viewed(self, tensor: Any, given: list[Any]) -> Value | None:
        """Return the argument that a result shares its storage with."""
        key = self._key(tensor)
        return next((self.values[id(t)] for t in given if self._key(t) == key), None)

    def _refuse_autocast(self, node: Any, args: Any) -> None:
        name = getattr(node.target, "__name__", "")
        wraps = is_wrapper(node.target) and operator_name(node.target) == "wrap_with_autocast"
        if (wraps or name == "_enter_autocast") and args[2]:
            raise ModelError(
                f"{self.item}: module '{module_path(node)}'",
                "operators whose element types are fixed",
                "a region under autocast",
                "Export the module in the element type that it shall run in, without autocast.",
            )


def _placed(result: Any, place: tuple[int, ...] = ()) -> list[tuple[tuple[int, ...], Any]]:
    """Return the tensors of a result with the indices that lead to each."""
    import torch

    if isinstance(result, torch.Tensor):
        return [(place, result)]
    if isinstance(result, (list, tuple)):
        return [found for i, r in enumerate(result) for found in _placed(r, (*place, i))]
    return []
