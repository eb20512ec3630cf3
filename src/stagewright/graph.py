# SPDX-License-Identifier: Apache-2.0
"""The cost graph: nodes with work, tensors with sizes, parameters with users, constraints.

A :class:`CostGraph` is immutable and valid by construction; change one with :meth:`replace`.
It knows nothing of file formats, devices or plans.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .allocation import many_objects
from .errors import GraphError
from .topology import topological_order
from .units import INT64_MAX

__all__ = ["FIRST", "FREE", "LAST", "SOURCES", "CostGraph", "GraphBuilder", "GraphIO", "Ragged"]

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

FREE: Final = 0
FIRST: Final = 1
LAST: Final = 2

SOURCES: Final = ("given", "measured", "calibrated", "roofline")
"""Where work comes from: the file that was read, a measurement of this very work, a roofline fitted to
measurements of the device, a roofline of the device's data sheet."""


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of unequal length in compressed form: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    offsets: Int64Array
    values: Int32Array

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Pack a list of lists."""
        offsets = np.array([0, *accumulate(map(len, rows))], np.int64)
        values = np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1]))
        return cls(_frozen(offsets), _frozen(values))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> list[int]:
        return self.values[self.offsets[row] : self.offsets[row + 1]].tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any

    def row_of(self) -> Int64Array:
        """Return the number of the row that holds each value."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def rows(self) -> list[list[int]]:
        """Unpack to a list of lists."""
        bounds, values = self.offsets.tolist(), self.values.tolist()
        return [values[a:b] for a, b in pairwise(bounds)]


@dataclass(frozen=True)
class GraphIO:
    """An input or output of the model: the nodes that read it, or the one that makes it; bytes, -1 if unknown."""

    name: str
    is_input: bool
    nbytes: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CostGraph:
    """A DAG of nodes with exact integer costs.  Build one with :class:`GraphBuilder`.

    Attributes
    ----------
    name
        Name of the model.
    node_names, node_ops
        Unique name and operator of each node; length n.
    node_dtypes
        Element type each node computes in (``float16``, ...), ``""`` where unknown.  Chooses the
        peak rate of a device; not part of the graph file.
    work
        int64[n], picoseconds on the target device.
    flops, nbytes
        int64[n], floating-point operations (a multiply-add is two) and bytes moved.
    group
        int32[n], index into `group_names`, -1 for none.  Nodes of a group share a stage.
    stage
        int32[n], ``FREE``, ``FIRST`` or ``LAST``.
    replicable
        bool[n].  Tensors of a replicable node cost nothing: stages that need them recompute them.
    tensor_producer, tensor_consumers
        int32[t] and one sorted row of consuming nodes per tensor.
    tensor_bytes, tensor_time
        int64[t]; exactly one of them is >= 0 for each tensor, the other is -1.  `tensor_time` is
        in picoseconds, for costs that were given as times.
    param_bytes, param_users
        int64[p] and one sorted row of using nodes per parameter.
    uncuttable
        int32[u, 2], pairs of nodes that must share a stage.
    node_kinds
        What the reader knows of how each node computes (``conv-depthwise``, ...), ``""`` where
        the operator's name says enough.  Chooses the efficiency that a device reaches; not part of
        the graph file.
    node_sources
        Where the work of each node comes from: one of `SOURCES`, ``""`` where it has none yet.  A
        plan does not depend on it, and the graph file does not hold it.
    io
        The model's own inputs and outputs, which cost nothing unless :mod:`.graph_io` charges them.
        Empty where the reader does not know them; not part of the graph file.
    notes
        Lines for people on how the graph came to be; part of neither the file nor the hash.
    """

    name: str
    node_names: tuple[str, ...]
    node_ops: tuple[str, ...]
    node_dtypes: tuple[str, ...]
    work: Int64Array
    flops: Int64Array
    nbytes: Int64Array
    group: Int32Array
    group_names: tuple[str, ...]
    stage: Int32Array
    replicable: BoolArray
    tensor_producer: Int32Array
    tensor_consumers: Ragged
    tensor_bytes: Int64Array
    tensor_time: Int64Array
    param_bytes: Int64Array
    param_users: Ragged
    uncuttable: Int32Array
    _order: Int32Array = field(repr=False)
    node_kinds: tuple[str, ...] = ()
    node_sources: tuple[str, ...] = ()
    io: tuple[GraphIO, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def num_nodes(self) -> int:
        """Number of nodes, n."""
        return len(self.node_names)

    @property
    def num_tensors(self) -> int:
        """Number of tensors."""
        return len(self.tensor_producer)

    @property
    def num_edges(self) -> int:
        """Number of producer-consumer pairs, m."""
        return len(self.tensor_consumers.values)

    @property
    def total_work(self) -> int:
        """Sum of the work of all nodes in picoseconds."""
        return int(self.work.sum())

    @property
    def has_constraints(self) -> bool:
        """Whether some nodes must share a stage, or the first or last one."""
        return bool(len(self.uncuttable) or self.stage.any() or (self.group >= 0).any())

    @property
    def topological_order(self) -> Int32Array:
        """int32[n], every producer before its consumers; the smallest index first among equals."""
        return self._order

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Map from node name to node index."""
        return {name: i for i, name in enumerate(self.node_names)}

    @cached_property
    @many_objects()
    def sha256(self) -> str:
        """Content hash over what a plan depends on; docs/formats.md gives the canonical text."""
        groups = [None if g < 0 else self.group_names[g] for g in self.group.tolist()]
        pins = [(None, "first", "last")[s] for s in self.stage.tolist()]
        sizes = zip(self.tensor_bytes.tolist(), self.tensor_time.tolist(), strict=True)
        content = {
            "nodes": list(
                zip(
                    self.node_names,
                    self.work.tolist(),
                    groups,
                    pins,
                    self.replicable.tolist(),
                    strict=True,
                )
            ),
            "tensors": [
                (p, c, "bytes", b) if b >= 0 else (p, c, "cost", t)
                for p, c, (b, t) in zip(
                    self.tensor_producer.tolist(), self.tensor_consumers.rows(), sizes, strict=True
                )
            ],
            "params": list(zip(self.param_bytes.tolist(), self.param_users.rows(), strict=True)),
            "uncuttable": self.uncuttable.tolist(),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def replace(self, **changes: Any) -> CostGraph:
        """Return a copy with some attributes changed; the result is validated again.

        `work`, `flops`, `nbytes` take any integer array or sequence of length n.
        """
        for key in ("work", "flops", "nbytes"):
            if key in changes:
                changes[key] = _int64(changes[key], f"graph '{self.name}': {key}", self.num_nodes)
        changed = replace(self, **changes)
        _validate_costs(changed)
        return changed

    def _repr_html_(self) -> str:
        from .display import graph_html

        return graph_html(self)

    def without_constraints(self) -> CostGraph:
        """Return a copy without groups, pins and uncuttable pairs."""
        n = self.num_nodes
        return replace(
            self,
            group=_frozen(np.full(n, -1, np.int32)),
            group_names=(),
            stage=_frozen(np.zeros(n, np.int32)),
            uncuttable=_frozen(np.zeros((0, 2), np.int32)),
        )


def _int64(values: Any, item: str, length: int) -> Int64Array:
    array = np.asarray(values)
    if array.shape != (length,) or array.dtype.kind not in "iu":
        raise GraphError(item, f"{length} integers", f"{array.dtype} of shape {array.shape}")
    return _frozen(array.astype(np.int64))


def _validate_costs(graph: CostGraph) -> None:
    """Refuse negative values and sums that could overflow int64 anywhere in the package."""
    for what, array, names in (
        ("work", graph.work, graph.node_names),
        ("flops", graph.flops, graph.node_names),
        ("bytes", graph.nbytes, graph.node_names),
    ):
        if len(array) and int(array.min()) < 0:
            worst = int(array.argmin())
            raise GraphError(f"node '{names[worst]}': {what}", "a value >= 0", str(array[worst]))
    # Three times the sum of all times must fit: a block pays a tensor at most twice, and
    # the search adds one block to another before it compares.
    total = sum(graph.work.tolist()) + 3 * sum(t for t in graph.tensor_time.tolist() if t > 0)
    if total > INT64_MAX // 4:
        raise GraphError(
            f"graph '{graph.name}': sum of work and costs",
            "at most 2**61 picoseconds (26 days)",
            f"{total} picoseconds",
            "Use a smaller time unit or check the values.",
        )
    size = sum(b for b in graph.tensor_bytes.tolist() if b > 0) + sum(graph.param_bytes.tolist())
    if size > INT64_MAX // 4:
        raise GraphError(
            f"graph '{graph.name}': sum of tensor and parameter bytes",
            "at most 2**61 bytes",
            f"{size} bytes",
        )


class GraphBuilder:
    """Collects nodes, tensors, parameters and constraints, and checks each as it comes.

    Examples
    --------
    >>> b = GraphBuilder("two")
    >>> conv, relu = b.add_node("conv", op="Conv", work=5), b.add_node("relu", op="Relu", work=1)
    >>> _ = b.add_tensor(conv, [relu], nbytes=4096)
    >>> b.build().num_nodes
    2
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._names: list[str] = []
        self._index: dict[str, int] = {}
        self._ops: list[str] = []
        self._dtypes: list[str] = []
        self._kinds: list[str] = []
        self._work: list[int] = []
        self._flops: list[int] = []
        self._nbytes: list[int] = []
        self._group: list[int] = []
        self._groups: dict[str, int] = {}
        self._stage: list[int] = []
        self._replicable: list[bool] = []
        self._producer: list[int] = []
        self._consumers: list[list[int]] = []
        self._tensor_bytes: list[int] = []
        self._tensor_time: list[int] = []
        self._param_bytes: list[int] = []
        self._param_users: list[list[int]] = []
        self._uncuttable: list[tuple[int, int]] = []
        self._io: list[GraphIO] = []

    def add_node(
        self,
        name: str,
        *,
        op: str = "",
        work: int = 0,
        flops: int = 0,
        nbytes: int = 0,
        dtype: str = "",
        kind: str = "",
        group: str | None = None,
        stage: int = FREE,
        replicable: bool = False,
    ) -> int:
        """Add a node and return its index; `work` in picoseconds, the attributes as in CostGraph.

        Raises
        ------
        GraphError
            If the name is taken or empty, or a number is negative or beyond int64.
        """
        if not name:
            raise GraphError(f"node {len(self._index)}: name", "a non-empty text", "''")
        if name in self._index:
            raise GraphError(
                f"node '{name}'",
                "a unique name",
                f"a second node (the first is {self._index[name]})",
            )
        for what, value in (("work", work), ("flops", flops), ("bytes", nbytes)):
            _check_int(f"node '{name}': {what}", value)
        if stage not in (FREE, FIRST, LAST):
            raise GraphError(f"node '{name}': stage", "'first' or 'last'", repr(stage))
        index = self._index[name] = len(self._index)
        self._names.append(name)
        self._ops.append(op)
        self._dtypes.append(dtype)
        self._kinds.append(kind)
        self._work.append(work)
        self._flops.append(flops)
        self._nbytes.append(nbytes)
        self._group.append(
            -1 if group is None else self._groups.setdefault(group, len(self._groups))
        )
        self._stage.append(stage)
        self._replicable.append(replicable)
        return index

    def add_tensor(
        self,
        producer: int,
        consumers: Iterable[int],
        *,
        nbytes: int | None = None,
        time: int | None = None,
    ) -> int:
        """Add a tensor, sized in bytes or priced in picoseconds (exactly one); return its index.

        Raises
        ------
        GraphError
            If a node is unknown, a consumer comes twice or is the producer, or not exactly one of
            `nbytes` and `time` is given.
        """
        index = len(self._producer)
        item = f"tensor {index}"
        self._check_node(f"{item}: producer", producer)
        item = f"tensor {index} of node '{self._names[producer]}'"
        users = self._check_nodes(f"{item}: consumers", consumers)
        if producer in users:
            raise GraphError(item, "consumers other than its producer", "a cycle of one node")
        if (nbytes is None) == (time is None):
            raise GraphError(
                item, "either bytes or cost", "both" if nbytes is not None else "neither"
            )
        if nbytes is not None:
            _check_int(f"{item}: bytes", nbytes)
        if time is not None:
            _check_int(f"{item}: cost", time)
        self._producer.append(producer)
        self._consumers.append(users)
        self._tensor_bytes.append(-1 if nbytes is None else nbytes)
        self._tensor_time.append(-1 if time is None else time)
        return index

    def add_param(self, nbytes: int, users: Iterable[int]) -> int:
        """Add a parameter of `nbytes` bytes used by the nodes `users`; return its index."""
        item = f"parameter {len(self._param_bytes)}"
        _check_int(f"{item}: bytes", nbytes)
        self._param_users.append(self._check_nodes(f"{item}: users", users))
        self._param_bytes.append(nbytes)
        return len(self._param_bytes) - 1

    def never_cut(self, a: int, b: int) -> None:
        """Demand that the nodes `a` and `b` share a stage."""
        item = f"uncuttable pair {len(self._uncuttable)}"
        self._check_node(item, a)
        self._check_node(item, b)
        self._uncuttable.append((a, b))

    def add_io(self, name: str, nbytes: int, nodes: Iterable[int], *, is_input: bool) -> None:
        """Say that the model has an input read by `nodes`, or an output made by one node."""
        item = f"{'input' if is_input else 'output'} '{name}'"
        self._io.append(GraphIO(name, is_input, nbytes, tuple(self._check_nodes(item, nodes))))

    def build(self) -> CostGraph:
        """Check the whole and return it.

        Raises
        ------
        GraphError
            If there is no node, a cycle (it is named), or a sum that overflows.
        """
        if not self._index:
            raise GraphError(f"graph '{self.name}'", "at least one node", "none")
        names = tuple(self._names)
        consumers = Ragged.of(self._consumers)
        graph = CostGraph(
            name=self.name,
            node_names=names,
            node_ops=tuple(self._ops),
            node_dtypes=tuple(self._dtypes),
            work=_frozen(np.array(self._work, np.int64)),
            flops=_frozen(np.array(self._flops, np.int64)),
            nbytes=_frozen(np.array(self._nbytes, np.int64)),
            group=_frozen(np.array(self._group, np.int32)),
            group_names=tuple(self._groups),
            stage=_frozen(np.array(self._stage, np.int32)),
            replicable=_frozen(np.array(self._replicable, np.bool_)),
            tensor_producer=_frozen(np.array(self._producer, np.int32)),
            tensor_consumers=consumers,
            tensor_bytes=_frozen(np.array(self._tensor_bytes, np.int64)),
            tensor_time=_frozen(np.array(self._tensor_time, np.int64)),
            param_bytes=_frozen(np.array(self._param_bytes, np.int64)),
            param_users=Ragged.of(self._param_users),
            uncuttable=_frozen(np.array(self._uncuttable, np.int32).reshape(-1, 2)),
            _order=_frozen(
                np.array(topological_order(names, self._producer, self._consumers), np.int32)
            ),
            node_kinds=tuple(self._kinds),
            node_sources=("given" if any(self._work) else "",) * len(names),
            io=tuple(self._io),
        )
        _validate_costs(graph)
        return graph

    def _check_node(self, item: str, node: int) -> None:
        if not isinstance(node, int) or isinstance(node, bool):
            raise GraphError(item, "a node index", repr(node))
        if not 0 <= node < len(self._index):
            raise GraphError(
                item, f"a node index from 0 to {len(self._index) - 1}", f"{node} (unknown node)"
            )

    def _check_nodes(self, item: str, nodes: Iterable[int]) -> list[int]:
        ordered = list(nodes)
        for node in ordered:
            self._check_node(item, node)
        ordered.sort()
        for a, b in pairwise(ordered):
            if a == b:
                raise GraphError(item, "each node once", f"node {a} twice")
        return ordered


def _check_int(item: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise GraphError(item, "a whole number >= 0", repr(value))
    if value < 0:
        raise GraphError(item, "a whole number >= 0", str(value))
    if value > INT64_MAX:
        raise GraphError(item, "a value below 2**63", str(value))
