# SPDX-License-Identifier: Apache-2.0
"""What each stage of a program runs, receives and hands on.

Stages are taken from the last to the first: what a stage needs is followed back until it is made there, is the
same in every stage (parameters, constants, what each stage recomputes) or comes from an earlier stage, which
is then asked for it.  A tensor goes from the stage that made it straight to each that reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ..errors import ModelError
from ..readers.torch_call import base_name
from ..readers.torch_walk import Version
from .torch_record import Call, Recorder, Value

__all__ = ["Cut", "StageContent", "contents_of"]

_ADDRESSES_STORAGE = "as_strided"
"""The view that depends on how its argument lies in memory, which sending may change."""


@dataclass(frozen=True)
class Cut:
    """Where the steps of a program run.

    Attributes
    ----------
    stage_of
        Stage of each step, None for those that nothing needs.
    copied
        Steps that every stage recomputes that needs their results.
    stages
        Number of stages.
    """

    stage_of: Sequence[int | None]
    copied: Collection[int]
    stages: int


@dataclass
class StageContent:
    """One stage.

    Attributes
    ----------
    calls
        What it runs, in the program's order.
    receives
        Values from earlier stages, by the number of the stage and there in the order in which it sends;
        stage 0 sends the model's inputs too.
    sends
        Values that later stages receive.
    """

    calls: list[Call] = field(default_factory=list)
    receives: dict[int, list[Value]] = field(default_factory=dict)
    sends: list[Value] = field(default_factory=list)


def contents_of(recorder: Recorder, outputs: Sequence[Value], cut: Cut) -> list[StageContent]:
    """Return the content of every stage.

    Parameters
    ----------
    recorder
        The walked program.
    outputs
        What it returns; the last stage returns that.

    Raises
    ------
    ModelError
        If a stage would have to hold two contents of one storage at once.
    """
    order = {id(call): i for i, call in enumerate(recorder.record)}
    steps = {call.step: call for call in recorder.record if call.step is not None}
    asked: list[dict[int, tuple[Value, Version]]] = [{} for _ in range(cut.stages)]
    asked[-1] = {id(v.tensor): (v, recorder.version_of(v.tensor)) for v in outputs}
    found = [StageContent() for _ in range(cut.stages)]
    for number in reversed(range(cut.stages)):
        closure = _Closure(recorder, number, cut)
        for value, version in asked[number].values():
            closure.need(value, version)
        for index, step in enumerate(recorder.steps):
            if step.effect and cut.stage_of[index] == number:
                closure.run(steps[index])
        for source, value, version in closure.imports():
            found[number].receives.setdefault(source, []).append(value)
            if asked[source].setdefault(id(value.tensor), (value, version))[1] is not version:
                raise _two_contents(recorder, value)
        found[number].calls = sorted(closure.calls.values(), key=lambda call: order[id(call)])
        if number < cut.stages - 1:
            found[number].sends = [value for value, _ in asked[number].values()]
    for content in found:
        for source, values in content.receives.items():
            place = {id(v.tensor): i for i, v in enumerate(found[source].sends)}
            values.sort(key=lambda v: place[id(v.tensor)])
    return found


class _Closure:
    """What one stage needs, with all that this needs in turn."""

    def __init__(self, recorder: Recorder, number: int, cut: Cut) -> None:
        self.calls: dict[int, Call] = {}
        self._recorder, self._number, self._cut = recorder, number, cut
        self._seen: set[tuple[int, int]] = set()
        self._todo: list[tuple[Value, Version]] = []
        self._wanted: dict[int, tuple[Version, dict[int, Value]]] = {}

    def need(self, value: Value, version: Version) -> None:
        """Ask for a value with the content that its storage has at that version."""
        self._todo.append((value, version))

    def run(self, call: Call) -> None:
        """Run a call here, and ask for what it is given."""
        if id(call) in self.calls:
            return
        self.calls[id(call)] = call
        for tensor in call.tensors:
            self.need(self._recorder.values[id(tensor)], call.reads[id(tensor)])

    def _follow(self) -> None:
        while self._todo:
            value, version = self._todo.pop()
            key = (id(value.tensor), id(version))
            if key in self._seen:
                continue
            self._seen.add(key)
            if not self._is_here(version):
                self._wanted.setdefault(id(version), (version, {}))[1][id(value.tensor)] = value
                continue
            maker = self._recorder.makers.get(id(version))
            if maker is not None:
                self.run(maker)
            if value.born is version:
                if value.call is not None:
                    self.run(value.call)
            elif maker is not None:
                # It was there before this content was written into its storage.
                self.need(value, self._before(version, maker))

    def _before(self, version: Version, maker: Call) -> Version:
        """Return the content of the same storage that a call wrote over."""
        storages = self._recorder.storages
        return next(
            read for read in maker.reads.values() if storages[id(read)] == storages[id(version)]
        )

    def _is_here(self, version: Version) -> bool:
        if version.constant:
            return True
        if version.producer is None:
            return self._number == 0
        at = self._cut.stage_of[version.producer]
        return at == self._number or version.producer in self._cut.copied

    def imports(self) -> list[tuple[int, Value, Version]]:
        """Return (source, value, version) of all that comes from earlier stages."""
        while True:
            self._follow()
            found = [
                (version, value) for version, values in self._wanted.values()
                for value in self._sent(version, list(values.values()))
            ]  # fmt: skip
            if not self._todo:
                break
        storages: set[int] = set()
        for version, value in found:
            key = self._recorder.storages[id(version)]
            made_here = value.call is not None and id(value.call) in self.calls
            if made_here or (key in storages and not self._is_alone(version, key)):
                raise _two_contents(self._recorder, value)
            storages.add(key)
        return [(self._source(version), value, version) for version, value in found]

    def _is_alone(self, version: Version, storage: int) -> bool:
        """Return whether no other version of the storage comes from elsewhere."""
        return all(
            other is version or self._recorder.storages[id(other)] != storage
            for other, _ in self._wanted.values()
        )

    def _source(self, version: Version) -> int:
        source = 0 if version.producer is None else self._cut.stage_of[version.producer]
        if source is None or source >= self._number:
            raise ModelError(
                f"{self._recorder.item}: stage {self._number}",
                "tensors that earlier stages make",
                "one that is made later" if source is not None else "one that nothing makes",
                "Check the plan against this model.",
            )
        return source

    def _sent(self, version: Version, wanted: list[Value]) -> list[Value]:
        """Return the values that are sent for those wanted; the rest are views of them, made here.

        Parts that are read apart are sent apart, unless together they are more than the whole, or
        somebody here writes to it.
        """
        names = {id(v.tensor) for v in wanted}
        tops = [v for v in wanted if not any(id(b.tensor) in names for b in _bases(v))]
        origin = wanted[0].origin
        storage = self._recorder.storages[id(version)]
        written = any(
            self._recorder.storages[id(made)] == storage
            for call in self.calls.values()
            for made in call.makes
        )
        if written or sum(map(_nbytes, tops)) > _nbytes(origin):
            tops = [origin]
        ends = {id(v.tensor) for v in tops}
        for value in wanted:
            while id(value.tensor) not in ends:
                self._view(value)
                assert value.viewed is not None  # noqa: S101  # every chain ends at the origin
                value = value.viewed  # noqa: PLW2901  # one step back
        return tops

    def _view(self, value: Value) -> None:
        """Make a view here of what is received."""
        call = value.call
        assert call is not None and value.viewed is not None  # noqa: PT018, S101  # it is a view
        base = value.viewed.tensor
        if base_name(call.node.target) == _ADDRESSES_STORAGE and not base.is_contiguous():
            raise ModelError(
                f"{self._recorder.item}: operator '{_ADDRESSES_STORAGE}'",
                "a contiguous tensor, where the plan cuts before it",
                f"strides {tuple(base.stride())} of a tensor {tuple(base.shape)}",
                "Keep both in one stage with a group.",
            )
        if id(call) in self.calls:
            return
        self.calls[id(call)] = call
        for tensor in call.tensors:
            if tensor is not base:
                self.need(self._recorder.values[id(tensor)], call.reads[id(tensor)])


def _bases(value: Value) -> list[Value]:
    """Return what a value is a view of, and what that is a view of, and so on."""
    found = []
    while value.viewed is not None:
        value = value.viewed
        found.append(value)
    return found


def _nbytes(value: Value) -> int:
    return int(value.tensor.numel()) * int(value.tensor.element_size())


def _two_contents(recorder: Recorder, value: Value) -> ModelError:
    name = recorder.names.get(id(value.tensor)) or (value.call.node.name if value.call else "?")
    return ModelError(
        f"{recorder.item}: tensor '{name}'",
        "one content that crosses between stages",
        "two, since it is written in place",
        "Keep its readers and writers in one stage with a group.",
    )
