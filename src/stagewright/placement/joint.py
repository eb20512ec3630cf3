# SPDX-License-Identifier: Apache-2.0
"""Forward and backward pass of a PyTorch module as one workload, traced as autograd runs them.

The joint graph says which tensors autograd keeps: those that forward nodes make and backward nodes read.  Views are no
nodes; who reads a view reads what it shows.  A backward node shares the stage of the forward node whose gradient
it computes: the one that uses the parameter whose gradient it makes, else the one that touches most of the
forward tensors that it reads, else that of the gradient that it continues.
"""

from __future__ import annotations

import operator
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..errors import InputError, MissingDependencyError, ModelError
from ..graph import GraphBuilder
from .workload import Workload

__all__ = ["JointGraph", "trace_training"]

Key = tuple[Any, int]
_COPIES_NOTHING: Final = ("_unsafe_view", "_reshape_alias")
_FORWARD_OF: Final = {"threshold_backward": "relu"}


@dataclass(frozen=True, eq=False)
class JointGraph:
    """A module's passes.

    Attributes
    ----------
    workload
        Its nodes have floating-point operations and bytes, and no work until :meth:`measured`.
    program
        The joint ``torch.fx.GraphModule``; parameters, buffers and inputs are its placeholders.
    values
        What the placeholders were traced with.
    nodes
        The nodes of `program` that those of the workload stand for, None for the model's inputs.
    """

    workload: Workload
    program: Any
    values: tuple[Any, ...]
    nodes: tuple[Any, ...] = field(repr=False)

    def measured(
        self,
        repetitions: int = 5,
        warmup: int = 2,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Workload:
        """Return the workload with the median time of each node, run one after another on this machine.

        Work is in picoseconds for what the traced inputs are: one microbatch.  With ``time.thread_time`` as `clock`
        and one thread, other programs that run at the same time count less.
        """
        import statistics

        import torch

        times: dict[Any, list[float]] = {}
        runner = _timer(self.program, times, clock)
        with torch.no_grad():
            for round_ in range(warmup + repetitions):
                if round_ == warmup:
                    times.clear()
                runner.run(*self.values)
        work = [
            0 if node is None else round(statistics.median(times[node]) * 1e12)
            for node in self.nodes
        ]
        n = self.workload.graph.num_nodes
        graph = self.workload.graph.replace(work=work, node_sources=("measured",) * n)
        return replace(self.workload, graph=graph)


def _timer(program: Any, times: dict[Any, list[float]], clock: Callable[[], float]) -> Any:
    import torch

    class Timer(torch.fx.Interpreter):  # type: ignore[misc]  # torch is not typed here
        """Runs a program and notes what each of its nodes takes."""

        def run_node(self, n: Any) -> Any:
            start = clock()
            result = super().run_node(n)
            times.setdefault(n, []).append(clock() - start)
            return result

    return Timer(program)


def trace_training(
    module: Any,
    inputs: Sequence[Any],
    loss: Callable[..., Any],
    targets: Sequence[Any] = (),
    *,
    whole: Sequence[str] = (),
) -> JointGraph:
    """Trace ``loss(module(*inputs), *targets)`` and its gradients for all parameters.

    Parameters
    ----------
    module
        A ``torch.nn.Module``, in the mode in which it is to train; its weights are not changed.
    inputs, targets
        One microbatch.
    whole
        Paths of submodules that are not cut.

    Raises
    ------
    MissingDependencyError, InputError, ModelError
        If PyTorch is missing, a path does not exist, or the module cannot be traced.
    """
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("torch", "torch", "Training graphs")
    known = {name for name, _ in module.named_modules()}
    for path in whole:
        if path not in known:
            raise InputError("whole", "paths of submodules", repr(path))
    program, signature, paths = _traced(module, tuple(inputs), loss, tuple(targets))
    return _Reader(program, signature, paths, type(module).__name__, whole).read(
        _placeholders(module, program, signature, (*inputs, *targets))
    )


def _traced(
    module: Any, inputs: tuple[Any, ...], loss: Callable[..., Any], targets: tuple[Any, ...]
) -> tuple[Any, Any, dict[str, str]]:
    """Return the joint program, its signature, and the submodule that each node was made in."""
    import torch
    from torch._functorch.aot_autograd import aot_export_module
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    paths: dict[str, str] = {}

    class Step(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *given: Any) -> tuple[Any]:
            return (loss(self.module(*given[: len(inputs)]), *given[len(inputs) :]),)

    def nodes_so_far() -> list[str]:
        mode: Any = get_proxy_mode()
        return [] if mode is None else [node.name for node in mode.tracer.graph.nodes]

    starts: list[int] = []
    hooks = []
    for name, part in module.named_modules():

        def enter(*_: Any) -> None:
            starts.append(len(nodes_so_far()))

        def leave(*_: Any, path: str = name) -> None:
            for node in nodes_so_far()[starts.pop() :]:
                paths.setdefault(node, path)

        hooks.append(part.register_forward_pre_hook(enter))
        hooks.append(part.register_forward_hook(leave))
    try:
        program, signature = aot_export_module(
            Step(), (*inputs, *targets), trace_joint=True, output_loss_index=0
        )
    except Exception as error:
        raise ModelError(
            f"module {type(module).__name__}",
            "a module and a loss whose gradients can be traced",
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    program.graph.eliminate_dead_code()
    return program, signature, paths


def _placeholders(
    module: Any, program: Any, signature: Any, given: tuple[Any, ...]
) -> tuple[Any, ...]:
    state = {f"module.{name}": value.detach() for name, value in module.named_parameters()}
    state |= {f"module.{name}": value for name, value in module.named_buffers()}
    users = dict(zip(signature.user_inputs, given, strict=True))
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    return tuple(
        state[names[node.name]] if node.name in names else users[node.name] for node in nodes
    )


class _Reader:
    """Reads one joint program."""

    def __init__(
        self,
        program: Any,
        signature: Any,
        paths: Mapping[str, str],
        name: str,
        whole: Sequence[str],
    ) -> None:
        self.program, self.signature, self.paths = program, signature, paths
        self.name, self.whole = name, sorted(whole, key=len)
        self.key: dict[Any, Key] = {}  # what a value shows: an output of a node, or a placeholder
        self.made: dict[Any, list[Key]] = {}
        self.reads: dict[Any, list[Key]] = {}
        self.nodes: list[Any] = []

    def read(self, values: tuple[Any, ...]) -> JointGraph:
        """Return the workload."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.key[node] = (node, 0)
            elif node.op == "call_function":
                self._enter(node)
        backward = self._backward()
        home = self._homes(backward)
        inputs = [
            node
            for node in self.program.graph.nodes
            if node.op == "placeholder" and node.name in self.signature.user_inputs
        ]
        nodes = [*inputs, *self.nodes]
        order = {node: i for i, node in enumerate(nodes)}
        groups = self._groups(nodes, home)
        builder = GraphBuilder(self.name)
        for node in nodes:
            given = node.op == "placeholder"
            builder.add_node(
                self._name(node, backward),
                op="Input" if given else _op(node),
                flops=0 if given else _flops(node),
                nbytes=0 if given else sum(map(_size, {*self.reads[node], *self.made[node]})),
                dtype="" if given else _dtype(node),
                group=groups.get(node),
                replicable=not given and node not in backward and self._constant(node),
            )
        self._add_tensors(builder, nodes, order)
        names = {**self.signature.inputs_to_parameters, **self.signature.inputs_to_buffers}
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in names:
                users = [order[n] for n in self.nodes if (node, 0) in self.reads[n]]
                if users:
                    builder.add_param(_size((node, 0)), users)
        flags = tuple(node in backward for node in nodes)
        kept = tuple(None if node.op == "placeholder" else node for node in nodes)
        return JointGraph(Workload(builder.build(), flags), self.program, values, kept)

    def _enter(self, node: Any) -> None:
        if node.target is operator.getitem:
            source, part = node.args
            base = self.key[source]
            self.key[node] = (base[0], int(part)) if base[0] is source else base
            if base[0] is source:
                self.made[source].append(self.key[node])
            return
        if _is_view(node):
            self.key[node] = self.key[node.all_input_nodes[0]]
            return
        self.key[node] = (node, 0)
        several = isinstance(node.meta.get("val"), (tuple, list))
        self.made[node] = [] if several else [(node, 0)]
        # Such as ones_like: the shape of what they are given is all that they need.
        given = () if _op(node).endswith("_like") else node.all_input_nodes
        self.reads[node] = list(dict.fromkeys(self.key[n] for n in given))
        self.nodes.append(node)

    def _outputs(self) -> dict[str, Any]:
        results = next(n for n in self.program.graph.nodes if n.op == "output").args[0]
        return {node.name: node for node in results if node is not None}

    def _backward(self) -> set[Any]:
        """Return the nodes that the loss does not depend on."""
        loss = self._outputs()[self.signature.backward_signature.loss_output]
        needed, stack = set(), [self.key[loss][0]]
        while stack:
            node = stack.pop()
            if node in needed:
                continue
            needed.add(node)
            stack += [key[0] for key in self.reads.get(node, ())]
        return {node for node in self.nodes if node not in needed}

    def _constant(self, node: Any) -> bool:
        """Whether nothing that is given leads to a node."""
        stack = [node]
        while stack:
            for key in self.reads[stack.pop()]:
                if key[0].op == "placeholder":
                    return False
                stack.append(key[0])
        return True

    def _homes(self, backward: set[Any]) -> dict[Any, Any]:
        """Return per backward node the forward node whose stage it shares."""
        place = {node: i for i, node in enumerate(self.nodes) if node not in backward}
        touching: dict[Key, list[Any]] = {}
        for node in place:
            for key in {*self.reads[node], *self.made[node]}:
                touching.setdefault(key, []).append(node)
        placeholder = {n.name: n for n in self.program.graph.nodes if n.op == "placeholder"}
        of_name = {name: given for given, name in self.signature.inputs_to_parameters.items()}
        outputs = self._outputs()
        gradient_of: dict[Any, Key] = {}
        for result, name in self.signature.backward_signature.gradients_to_parameters.items():
            gradient_of[self.key[outputs[result]][0]] = (placeholder[of_name[name]], 0)
        home: dict[Any, Any] = {}
        last = max(place, key=lambda node: place[node])
        for node in self.nodes:
            if node not in backward:
                continue
            before = [home[key[0]] for key in self.reads[node] if key[0] in home]
            limit = min((place[own] for own in before), default=place[last])
            read = [key for key in self.reads[node] if key in touching]
            read += [gradient_of[node]] if node in gradient_of else []
            votes = Counter(own for key in read for own in touching.get(key, ()))
            twin = _FORWARD_OF.get(_op(node), _op(node))
            able = [own for own in votes if place[own] <= limit]
            if able:
                home[node] = max(
                    able,
                    key=lambda own: (
                        gradient_of.get(node) in self.reads[own],
                        votes[own],
                        _op(own) in twin,
                        place[own],
                    ),
                )
            else:
                home[node] = min(before, key=lambda own: place[own], default=last)
        return home

    def _groups(self, nodes: Sequence[Any], home: Mapping[Any, Any]) -> dict[Any, str]:
        """Return the group of each node that has one: a whole submodule, or a node and its gradients."""
        groups: dict[Any, str] = {}
        twins = set(home.values())
        for node in nodes:
            own = home.get(node, node)
            path = self.paths.get(own.name, "")
            within = [w for w in self.whole if path == w or path.startswith(f"{w}.")]
            if within:
                groups[node] = within[0]
            elif own in twins:
                groups[node] = f"{own.name} (both passes)"
        return groups

    def _name(self, node: Any, backward: set[Any]) -> str:
        if node.op == "placeholder":
            return f"input {self.signature.user_inputs.index(node.name)}"
        path = self.paths.get(node.name, "")
        name = f"{path}/{node.name}" if path else str(node.name)
        return f"{name} (backward)" if node in backward else name

    def _add_tensors(
        self, builder: GraphBuilder, nodes: Sequence[Any], order: Mapping[Any, int]
    ) -> None:
        users: dict[Key, list[int]] = {}
        for node in self.nodes:
            for key in self.reads[node]:
                users.setdefault(key, []).append(order[node])
        for node in nodes:
            for key in dict.fromkeys(self.made.get(node, [(node, 0)])):
                builder.add_tensor(order[node], users.get(key, ()), nbytes=_size(key))


def _is_view(node: Any) -> bool:
    """Whether a node shows a tensor that there is already."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not node.all_input_nodes:
        return False
    if schema.name.split("::")[-1] in _COPIES_NOTHING:
        return True
    returned = schema.returns[0].alias_info if len(schema.returns) == 1 else None
    return returned is not None and not returned.is_write


def _op(node: Any) -> str:
    schema = getattr(node.target, "_schema", None)
    return str(node.target) if schema is None else schema.name.split("::")[-1]


def _value(key: Key) -> Any:
    value = key[0].meta.get("val")
    return value[key[1]] if isinstance(value, (tuple, list)) else value


def _size(key: Key) -> int:
    value = _value(key)
    return 0 if not hasattr(value, "numel") else int(value.numel()) * value.element_size()


def _dtype(node: Any) -> str:
    value = _value((node, 0))
    return str(getattr(value, "dtype", "")).removeprefix("torch.")


def _flops(node: Any) -> int:
    """Return the floating-point operations of a node that PyTorch's own counter knows."""
    from torch.fx.node import map_arg
    from torch.utils.flop_counter import flop_registry

    count = flop_registry.get(getattr(node.target, "overloadpacket", None))
    if count is None:
        return 0
    args, kwargs = map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
    return int(count(*args, **kwargs, out_val=node.meta["val"]))
