# SPDX-License-Identifier: Apache-2.0
"""Stage modules for PyTorch's pipelining, from a program and the content of its stages."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..errors import ModelError
from .torch_needs import StageContent
from .torch_record import Call, Recorder, Value

__all__ = ["joined_module", "stage_module", "user_inputs"]

SUBMODULE: Final = "submod_pp_{}"
"""What ``torch.distributed.pipelining.Pipe`` calls its stages."""


def user_inputs(program: Any, item: str) -> list[str]:
    """Return the names of the model's inputs, in order.

    Raises
    ------
    ModelError
        If an input is no tensor, or they are nested: stages take tensors, by position or by name.
    """
    names = []
    nodes = [n for n in program.graph.nodes if n.op == "placeholder"]
    for spec, node in zip(program.graph_signature.input_specs, nodes, strict=True):
        if spec.kind.name != "USER_INPUT":
            continue
        if not hasattr(node.meta.get("val"), "shape"):
            raise ModelError(
                f"{item}: input '{spec.arg.name}'",
                "a tensor",
                repr(getattr(spec.arg, "value", None)),
                "Give example inputs without it, or fix it inside the module.",
            )
        names.append(spec.arg.name)
    args, kwargs = program.call_spec.in_spec.children()
    flat = [spec for spec in (*args.children(), *kwargs.children()) if not spec.is_leaf()]
    if flat:
        raise ModelError(
            f"{item}: inputs",
            "tensors, one by one",
            f"nested ones ({flat[0].type.__name__})",
            "Wrap the module in one that takes tensors.",
        )
    return names


class _Writer:
    """Writes one stage as a graph module."""

    def __init__(self, program: Any, recorder: Recorder) -> None:
        import torch.fx

        self.root = torch.nn.Module()
        self.graph = torch.fx.Graph()
        self._program, self._recorder = program, recorder
        self._nodes: dict[int, Any] = {}
        self._made: dict[int, Any] = {}
        self._bodies: dict[int, Any] = {}
        self._unsaved: list[str] = []

    def receive(self, name: str, tensor: Any) -> None:
        node = self.graph.placeholder(name)
        node.meta["val"] = _shape_only(tensor)
        self._nodes[id(tensor)] = node

    def add(self, call: Call) -> None:
        from torch.fx.node import map_aggregate

        args = map_aggregate(call.args, self._argument)
        kwargs = map_aggregate(call.kwargs, self._argument)
        self._made[id(call)] = self.graph.create_node(
            "call_function", call.node.target, args, dict(kwargs), name=call.node.name
        )

    def _argument(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            return self.node_of(self._recorder.values[id(value)])
        if isinstance(value, torch.nn.Module):  # the body of a loop or a branch
            if id(value) not in self._bodies:
                name = f"body_{len(self._bodies)}"
                self.root.add_module(name, value)
                self._bodies[id(value)] = self.graph.get_attr(name)
            return self._bodies[id(value)]
        return value

    def node_of(self, value: Value) -> Any:
        """Return the node of a value: received, held, or part of what a call returned."""
        key = id(value.tensor)
        if key not in self._nodes:
            if value.call is None:
                self._nodes[key] = self._held(value)
            else:
                node = self._made[id(value.call)]
                for index in value.place:
                    node = self.graph.call_function(operator.getitem, (node, index))
                self._nodes[key] = node
        return self._nodes[key]

    def _held(self, value: Value) -> Any:
        """Register a parameter, a buffer or a constant under its own name."""
        import torch

        name = self._recorder.names[id(value.tensor)]
        held = self._recorder.attributes.get(id(value.tensor))
        if held is None:
            state = self._program.state_dict
            held = state[name] if name in state else self._program.constants[name]
        else:
            name = f"constant_{name}"
        *folders, last = name.split(".")
        module = self.root
        for folder in folders:
            if not hasattr(module, folder):
                module.add_module(folder, torch.nn.Module())
            module = getattr(module, folder)
        if isinstance(held, torch.nn.Parameter):
            module.register_parameter(last, held)
        else:
            module.register_buffer(last, held)
            unsaved = name in self._program.graph_signature.non_persistent_buffers
            self._unsaved += [name] if unsaved else []
        return self.graph.get_attr(name)

    def send(self, values: Sequence[Value]) -> None:
        import torch

        sent = []
        for value in values:
            # Only contiguous tensors can be sent; the others are copied here.
            node = self.graph.call_function(
                torch.ops.aten.contiguous.default, (self.node_of(value),)
            )
            node.meta["val"] = _shape_only(value.tensor)
            sent.append(node)
        self.graph.output(tuple(sent))

    def module(self, name: str) -> Any:
        import torch.fx

        made = torch.fx.GraphModule(self.root, self.graph, name)
        for buffer in self._unsaved:
            *folders, last = buffer.split(".")
            made.get_submodule(".".join(folders))._non_persistent_buffers_set.add(last)
        return made


def stage_module(
    program: Any, recorder: Recorder, content: StageContent, number: int, inputs: Mapping[str, Any],
    result: Any = None,
) -> Any:  # fmt: skip
    """Return the graph module of one stage.

    Parameters
    ----------
    inputs
        The model's inputs by name, for stage 0.
    result
        For the last stage what the model returns, with values for tensors; None for the others, which return
        a tuple of what they send.
    """
    from torch.fx.node import map_aggregate

    writer = _Writer(program, recorder)
    for name, tensor in inputs.items():
        writer.receive(name, tensor)
    for _, values in sorted(content.receives.items()):
        for value in values:
            writer.receive(_name_of(recorder, value), value.tensor)
    for call in content.calls:
        writer.add(call)
    if result is None:
        writer.send(content.sends)
    else:

        def node_of(value: Any) -> Any:
            node = writer.node_of(value)
            node.meta.setdefault("val", _shape_only(value.tensor))
            return node

        writer.graph.output(map_aggregate(result, node_of))
    return writer.module(f"Stage{number}")


def _name_of(recorder: Recorder, value: Value) -> str:
    if value.call is None:
        return recorder.names[id(value.tensor)]
    return "_".join([value.call.node.name, *map(str, value.place)])


def _shape_only(tensor: Any) -> Any:
    import torch

    return torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device="meta")


def joined_module(
    modules: Sequence[Any], contents: Sequence[StageContent], inputs: Sequence[str], result: Any
) -> Any:
    """Return the module that runs all stages, one after another, as ``Pipe`` wants it.

    `result` is what the last stage returns.
    """
    import torch.fx

    root, graph = torch.nn.Module(), torch.fx.Graph()
    given = [graph.placeholder(name) for name in inputs]
    parts: dict[tuple[int, int], Any] = {}
    node = None
    for number, (module, content) in enumerate(zip(modules, contents, strict=True)):
        name = SUBMODULE.format(number)
        root.add_module(name, module)
        received = [
            parts[source, id(value.tensor)]
            for source, values in sorted(content.receives.items())
            for value in values
        ]
        node = graph.call_module(name, tuple(received if number else given))
        for index, value in enumerate(content.sends):
            part = graph.call_function(operator.getitem, (node, index))
            parts[number, id(value.tensor)] = part
    if isinstance(result, (list, tuple)):
        # Schedules look for a user of each thing that a stage returns.
        got = [graph.call_function(operator.getitem, (node, i)) for i in range(len(result))]
        graph.output(type(result)(got))
    else:
        graph.output(node)
    return torch.fx.GraphModule(root, graph, "Stages")
