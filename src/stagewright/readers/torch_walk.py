# SPDX-License-Identifier: Apache-2.0
"""The walk over an exported program: every operator runs once on fake tensors, which have no data.

Running it again, rather than believing the shapes in the file, shows which results share a storage
with an argument: whether a reshape copies depends on strides that a file does not keep.  Contents are
followed by storage: every write in place makes a new version of one, and a view is no node at all.

A node none of whose inputs varies runs once, when the model is loaded, so it is folded: whoever reads its result
reads a parameter, the smaller of the result and what it was made from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import ModelError, StagewrightError
from .onnx_types import words
from .torch_call import TorchCall, base_name, bind, tensors_in
from .torch_flops import flops_of, has_rule
from .torch_region import Region
from .torch_sizes import SIZED_BY_DATA, run_sized
from .torch_traffic import bytes_of

__all__ = ["Notes", "Source", "Step", "Version", "Walk"]

_FILLS: Final = frozenset(
    words(
        "empty empty_like empty_strided eye fill full full_like new_empty new_empty_strided "
        "new_full new_ones new_zeros ones ones_like scalar_tensor zero zeros zeros_like"
    )
)
"""Operators whose result is one value over and over: made from nothing, held as nothing."""

_RANDOM: Final = frozenset(
    words(
        "bernoulli multinomial normal rand rand_like randint randint_like randn randn_like uniform"
    )
)


@dataclass(frozen=True)
class Source:
    """A tensor that the program is given: a parameter, a buffer, a constant or a resident state.

    Attributes
    ----------
    name
        As the module names it; the first of its names if it has several.
    nbytes
        Bytes of its storage.
    """

    name: str
    nbytes: int


@dataclass(eq=False)
class Version:
    """The content of a storage between two writes.

    Attributes
    ----------
    nbytes
        Bytes of the whole storage.
    producer
        Index of the step that wrote it; None for what the program is given and for constants.
    constant
        True if it does not depend on the model's inputs.
    sources
        Indices of the parameters that whoever reads it reads.
    state
        Index of the parameter whose own storage this is, if it is one.
    floating
        True if its elements are neither integers nor truth values.
    reads
        What was read of it, and by which step.
    """

    nbytes: int
    producer: int | None = None
    constant: bool = False
    sources: tuple[int, ...] = ()
    state: int | None = None
    floating: bool = True
    reads: list[tuple[Region, int]] = field(default_factory=list)


@dataclass(eq=False)
class Step:
    """One node: an operator that runs.

    Attributes
    ----------
    path, op
        Path of the module that runs it and the operator's name.
    dtype
        Element type it computes in.
    flops, nbytes
        Operations and bytes moved.
    inputs
        Versions that it reads, with the region of each.
    makes
        Versions that it writes.
    after
        Earlier steps that read what this one overwrites.
    effect
        True if it changes a parameter, a buffer or an input, so that it must stay even if nobody reads it.
    """

    path: str
    op: str
    dtype: str
    flops: int
    nbytes: int
    inputs: list[tuple[Version, Region]]
    makes: list[Version] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    effect: bool = False


@dataclass
class Notes:
    """What was estimated: operators without a rule, loops of unknown length, sizes that data decide."""

    unknown: Counter[str] = field(default_factory=Counter)
    loops: Counter[str] = field(default_factory=Counter)
    bounded: Counter[str] = field(default_factory=Counter)


class Walk:
    """Walks the graph module of a program; the steps are its result.

    Parameters
    ----------
    item
        The model, for messages.
    mode
        The fake mode of every tensor.
    symbols
        Values of the symbols in the program's shapes, for results that are not computed here.
    """

    def __init__(self, item: str, mode: Any, symbols: Mapping[Any, int] | None = None) -> None:
        self.item, self.mode, self.symbols = item, mode, dict(symbols or {})
        self.notes = Notes()
        self.steps: list[Step] = []
        self.calls: list[tuple[Any, int | None]] = []  # each call in turn, and the step it became
        self.sources: list[Source] = []
        self.versions: dict[int, Version] = {}
        self._alive: list[Any] = []  # storages are told apart by address, so none may be freed

    def give(self, tensor: Any, *, name: str, resident: bool, constant: bool) -> None:
        """Introduce a tensor that the program is given; one storage given twice is one source."""
        key = self._key(tensor)
        if key in self.versions:
            return
        nbytes = int(tensor.untyped_storage().nbytes())
        floating = tensor.is_floating_point() or tensor.is_complex()
        version = self.versions[key] = Version(nbytes, constant=constant, floating=floating)
        if resident:
            version.state = len(self.sources)
            version.sources = (version.state,)
            self.sources.append(Source(name, nbytes))

    def version_of(self, tensor: Any) -> Version:
        """Return the present content of a tensor's storage."""
        return self.versions[self._key(tensor)]

    def run(self, module: Any, inputs: Sequence[Any]) -> Any:
        """Run a graph module on fake tensors, adding a step per operator; return its output."""
        env: dict[Any, Any] = {}
        given = iter(inputs)

        def value_of(node: Any) -> Any:
            return env[node]

        import torch.fx

        from .torch_control import is_wrapper

        for node in module.graph.nodes:
            if node.op == "placeholder":
                env[node] = next(given)
            elif node.op == "get_attr":
                env[node] = self._attribute(module, node.target)
            elif node.op == "output":
                return torch.fx.node.map_arg(node.args[0], value_of)
            else:
                args = torch.fx.node.map_arg(node.args, value_of)
                kwargs = torch.fx.node.map_arg(node.kwargs, value_of)
                before = len(self.steps)
                env[node] = self._call(node, args, kwargs)
                if not is_wrapper(node.target):
                    self.calls.append((node, before if len(self.steps) > before else None))
        return None

    def _attribute(self, module: Any, target: str) -> Any:
        import torch

        value: Any = module
        for part in target.split("."):
            value = getattr(value, part)
        if isinstance(value, torch.Tensor):
            fake = self.mode.from_tensor(value, static_shapes=True)
            self.give(fake, name=target, resident=True, constant=True)
            return fake
        return value

    def _call(self, node: Any, args: Any, kwargs: Any) -> Any:
        """Run one call; operators become steps, arithmetic on sizes does not."""
        import torch

        target = node.target
        if isinstance(target, torch._ops.HigherOrderOperator):
            from .torch_control import run_control

            return run_control(self, node, args, kwargs)
        if not isinstance(target, torch._ops.OpOverload):
            return self._plain(node, target, args, kwargs)
        name = base_name(target)
        if name in ("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range",
                    "sym_constrain_range_for_size"):  # fmt: skip
            return None
        if target is torch.ops.aten.detach_.default:
            return args[0]  # refused for views, and without gradients it does nothing
        with self.faults(node, name):
            if name in SIZED_BY_DATA:
                result, bounded = run_sized(name, target, args, kwargs, node, self.symbols)
                if bounded:
                    self.notes.bounded[name] += 1
            else:
                result = target(*args, **kwargs)
        values = bind(target, args, kwargs)
        writes = tuple(
            a.name for a in target._schema.arguments if a.alias_info and a.alias_info.is_write
        )
        self.add(
            node,
            TorchCall(name, values, tuple(tensors_in(result)), writes),
            lambda: self._parts_of(target, args, kwargs),
        )
        return result

    def _plain(self, node: Any, target: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run getitem, arithmetic on sizes, and the context switches that exports leave behind."""
        with self.faults(node, getattr(target, "__name__", str(target))):
            if getattr(target, "__name__", "") in ("_enter_autocast", "_exit_autocast"):
                return None
            return target(*args, **kwargs)

    def faults(self, node: Any, name: str) -> AbstractContextManager[None]:
        """Name the operator when running it fails."""
        return _faults(self.item, module_path(node), name)

    def add(
        self, node: Any, call: TorchCall, decompose: Callable[[], tuple[int, list[str]] | None]
    ) -> None:
        """Record what one call reads, makes and costs.

        Parameters
        ----------
        decompose
            Returns the operations of an operator without a rule, counted on what it is made of.
        """
        written = {self._key(t): t for n in call.writes for t in tensors_in(call.values.get(n))}
        inputs = call.tensors
        known = {self._key(t) for t in inputs}
        fresh = {
            key: t
            for t in call.outputs
            if (key := self._key(t)) not in known and key not in written
        }
        fresh = {key: t for key, t in fresh.items() if key not in self.versions}
        if not written and not fresh:
            return  # a view, or a number read off a shape
        self._alive.extend(fresh.values())
        read = [(self.versions[self._key(t)], Region.of(t)) for t in inputs]
        read += [(self.versions[k], Region(0, ((self.versions[k].nbytes, 1),))) for k in written]
        old = [self.versions[key] for key in written]
        if call.op not in _RANDOM and all(
            version.constant and (version.state is None or version not in old)
            for version, _ in read
        ):
            self._fold(call, read, [*written, *fresh], {**written, **fresh})
            return
        self._step(node, call, read, written, fresh, decompose)

    def _fold(
        self,
        call: TorchCall,
        read: list[tuple[Version, Region]],
        keys: Sequence[int],
        tensors: Mapping[int, Any],
    ) -> None:
        """Make the results constants, held as the smaller of result and sources."""
        sources = tuple(dict.fromkeys(s for version, _ in read for s in version.sources))
        for key in keys:
            size = int(tensors[key].untyped_storage().nbytes())
            held = sum(self.sources[s].nbytes for s in sources)
            if call.op in _FILLS and not sources:
                kept: tuple[int, ...] = ()
            elif sources and held <= size:
                kept = sources
            else:
                kept = (len(self.sources),)
                self.sources.append(Source(f"folded {call.op} {kept[0]}", size))
            self.versions[key] = Version(size, constant=True, sources=kept)

    def _step(
        self,
        node: Any,
        call: TorchCall,
        read: list[tuple[Version, Region]],
        written: Mapping[int, Any],
        fresh: Mapping[int, Any],
        decompose: Callable[[], tuple[int, list[str]] | None],
    ) -> None:
        index = len(self.steps)
        distinct = {(id(version), region): (version, region) for version, region in read}
        step = Step(
            module_path(node),
            call.op,
            _dtype(call),
            self._flops(call, decompose),
            bytes_of(call),
            list(distinct.values()),
        )
        for version, region in step.inputs:
            version.reads.append((region, index))
        for key in written:
            before = self.versions[key]
            earlier = dict.fromkeys(i for _, i in before.reads if i != index)
            step.after += earlier
            # Writes to what the program was given are seen outside.
            step.effect |= before.producer is None and (
                before.state is not None or not before.constant
            )
            self.versions[key] = Version(before.nbytes, index, state=before.state)
            step.makes.append(self.versions[key])
        for key, tensor in fresh.items():
            self.versions[key] = Version(int(tensor.untyped_storage().nbytes()), index)
            step.makes.append(self.versions[key])
        self.steps.append(step)

    def _flops(self, call: TorchCall, decompose: Callable[[], tuple[int, list[str]] | None]) -> int:
        if has_rule(call.op):
            return flops_of(call)
        found = decompose()
        if found is None:
            self.notes.unknown[call.op] += 1
            return 0
        flops, unknown = found
        self.notes.unknown.update(unknown)
        return flops

    def _parts_of(self, target: Any, args: Any, kwargs: Any) -> tuple[int, list[str]] | None:
        """Return the operations of the operators that a composite one is made of."""
        from .torch_parts import count_parts

        return count_parts(target, args, kwargs)

    def _key(self, tensor: Any) -> int:
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        return int(storage._cdata)


@contextmanager
def _faults(item: str, path: str, op: str) -> Iterator[None]:
    """Turn what an operator raises into a message with its place."""
    try:
        yield
    except StagewrightError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(
            f"{item}: operator '{op}' in module '{path}'",
            "sizes that follow from those of the inputs",
            f"{type(error).__name__}: {lines[0][:300]}",
            "Give other input shapes, or rewrite this part so that no size depends on data.",
        ) from error


def module_path(node: Any) -> str:
    """Return the path of the module that a node of an export came from, '' for the outermost."""
    stack = node.meta.get("nn_module_stack") or {}
    path = ""
    for name, _ in stack.values():
        path = str(name)
    # Torch marks a module that is called again by '@'.
    return ".".join(part.partition("@")[0] for part in path.split(".")) if path else ""


def _dtype(call: TorchCall) -> str:
    """Return the element type that the operator computes in: a comparison computes in its input's."""
    names = [str(t.dtype).removeprefix("torch.") for t in _tensors(call)]
    floats = [name for name in names if "float" in name]
    return (floats or names or [""])[0]


def _tensors(call: TorchCall) -> Iterator[Any]:
    yield from call.outputs
    yield from call.tensors
