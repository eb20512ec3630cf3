# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules and exported programs, cut into a module per stage.

The program is traced once more; its calls are given to the stages of the plan by the names of their nodes.  What a
stage computes is what the unsplit program computes, operator by operator.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CheckError, ModelError
from .torch_modules import joined_module, stage_module, user_inputs
from .torch_needs import Cut, StageContent, contents_of
from .torch_record import Recorder, Value

__all__ = ["Sent", "TorchStages", "split_torch"]


@dataclass(frozen=True)
class Sent:
    """A tensor that crosses: its name, the stage it comes from, those it goes to, and its bytes."""

    name: str
    source: int
    targets: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, eq=False)
class TorchStages:
    """The stages of a module; calling it runs all of them here, in order.

    Attributes
    ----------
    modules
        A ``torch.fx.GraphModule`` per stage.  Stage 0 takes the model's inputs, the others what
        they receive; the last one returns what the model returns, the others a tuple of what they send.
        Parameters keep their names and are those of the module that was split.
    sent
        What crosses; a tensor goes straight to each stage that reads it.
    joined
        One module that runs them all.
    """

    modules: tuple[Any, ...]
    sent: tuple[Sent, ...]
    joined: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the stages, one after another."""
        return self.joined(*args, **kwargs)

    def pipe(self) -> Any:
        """Return the ``torch.distributed.pipelining.Pipe`` of these stages.

        Its ``build_stage(index, device, group)`` gives what the schedules of that package run.  Sizes are
        those of the example inputs, which therefore are one microbatch.
        """
        import torch.fx
        from torch.distributed.pipelining import Pipe

        # Pipe takes its module over, so it gets one of its own around the same stages.
        own = torch.fx.GraphModule(self.joined, self.joined.graph, "Stages")
        return Pipe(own, len(self.modules), has_loss_and_backward=False, loss_spec=None)


def split_torch(
    model: Any,
    example_inputs: Any,
    stages: Sequence[Sequence[str]],
    *,
    item: str = "plan",
    replicable: Collection[str] | None = None,
) -> TorchStages:
    """Cut a module or an exported program into stage modules.

    Parameters
    ----------
    model
        The module that was planned, with weights or on the meta device, or an ``ExportedProgram``.
    example_inputs
        For a module: inputs of the sizes that it was planned with, as for reading.
    stages
        Names of the nodes of each stage.
    item
        The plan, for messages.
    replicable
        Names of the nodes that each stage makes again where it needs them; None for those that reading
        marks so.

    Raises
    ------
    CheckError
        If the plan is for another model.
    ModelError
        If the model cannot be exported, or a stage of it cannot be run by itself.
    """
    from ..readers.torch_graph import node_names
    from ..readers.torch_module import export_torch
    from ..readers.torch_program import graph_of_walk, walk_program

    program, name = export_torch(model, example_inputs)
    found = walk_program(program, name, walk_type=Recorder)
    program, walk = found.program, found.walk
    assert isinstance(walk, Recorder)  # noqa: S101  # it is what was asked for
    _require_fixed(name, program, walk)
    names = node_names(walk.steps, found.outputs)
    stage_of = _stages_by_name(item, stages, names, name)
    if replicable is None:
        graph = graph_of_walk(found, name, name)
        replicable = {n for n, v in graph.index_of.items() if graph.replicable[v]}
    copied = {i for i, n in enumerate(names) if n in replicable}
    cut = Cut([None if n is None else stage_of[n] for n in names], copied, len(stages))
    result = _result(program, walk, name)
    contents = contents_of(walk, result[0], cut)
    inputs = user_inputs(program, name)
    given = {walk.names[id(t)]: t for t in found.values if id(t) in walk.names}
    modules = tuple(
        stage_module(
            program,
            walk,
            content,
            number,
            {n: given[n] for n in inputs} if number == 0 else {},
            result[1] if number == len(contents) - 1 else None,
        )
        for number, content in enumerate(contents)
    )
    joined = joined_module(modules, contents, inputs, result[1])
    return TorchStages(modules, _sent(walk, contents), joined)


def _require_fixed(name: str, program: Any, walk: Recorder) -> None:
    """Refuse sizes that are known only when the program runs: what is received has a fixed size."""
    import torch

    dynamic = [
        call.node.name
        for call in walk.record
        if any(isinstance(v, torch.SymInt) for v in _leaves((call.args, call.kwargs)))
    ]
    if walk.notes.bounded or dynamic or program.range_constraints:
        which = [*walk.notes.bounded, *dynamic, *map(str, program.range_constraints)]
        raise ModelError(
            f"{name}: operator or size '{which[0]}'",
            "fixed sizes, since stages receive tensors of fixed sizes",
            "a size that depends on data, or a dynamic dimension",
            "Export with fixed shapes, or pad to a fixed size.",
        )


def _leaves(value: Any) -> list[Any]:
    from torch.utils._pytree import tree_leaves

    leaves: list[Any] = tree_leaves(value)
    return leaves


def _stages_by_name(
    item: str, stages: Sequence[Sequence[str]], names: Sequence[str | None], model: str
) -> dict[str, int]:
    stage_of = {name: number for number, nodes in enumerate(stages) for name in nodes}
    known = {n for n in names if n is not None}
    for missing, where, remedy in (
        (known - stage_of.keys(), item, "Plan this module, with the same example inputs."),
        (stage_of.keys() - known, model, "Give the module that was planned, with the same inputs."),
    ):
        if missing:
            raise CheckError(
                where, f"the node '{min(missing)}'", f"none ({len(missing)} are missing)", remedy
            )
    return stage_of


def _result(program: Any, walk: Recorder, name: str) -> tuple[list[Value], Any]:
    """Return the values that the program returns, and how they are nested: in tuples, lists and dicts."""
    import torch

    values: list[Value] = []
    specs = program.graph_signature.output_specs
    for spec, tensor in zip(specs, _leaves(walk.returned), strict=True):
        if spec.kind.name != "USER_OUTPUT":
            raise ModelError(
                f"{name}: output '{spec.arg.name}'",
                "what forward() returns",
                f"a write that was taken apart ({spec.kind.name})",
                "Split the module, or the program as torch.export.export() returned it.",
            )
        if not isinstance(tensor, torch.Tensor):
            raise ModelError(
                f"{name}: output {len(values)}",
                "a tensor",
                repr(tensor),
                "Let forward() return tensors only.",
            )
        values.append(walk.values[id(tensor)])
    nested = torch.utils._pytree.tree_unflatten(values, program.call_spec.out_spec)
    return values, _plain(nested, name)


def _plain(nested: Any, name: str) -> Any:
    """Return tuples, lists and dicts for whatever a model returns its tensors in."""
    if isinstance(nested, Value):
        return nested
    if isinstance(nested, Mapping):
        return {key: _plain(inner, name) for key, inner in nested.items()}
    if isinstance(nested, list):
        return [_plain(inner, name) for inner in nested]
    if isinstance(nested, tuple):
        return tuple(_plain(inner, name) for inner in nested)
    raise ModelError(
        f"{name}: output", "tensors in tuples, lists or dicts", f"a {type(nested).__name__}"
    )


def _sent(walk: Recorder, contents: Sequence[StageContent]) -> tuple[Sent, ...]:
    sent = []
    for number, content in enumerate(contents):
        for value in content.sends:
            targets = tuple(
                target
                for target, other in enumerate(contents)
                if any(v is value for v in other.receives.get(number, ()))
            )
            name = walk.names.get(id(value.tensor))
            name = name or "_".join([value.call.node.name, *map(str, value.place)])  # type: ignore[union-attr]
            nbytes = int(value.tensor.numel()) * int(value.tensor.element_size())
            sent.append(Sent(name, number, targets, nbytes))
    return tuple(sent)
