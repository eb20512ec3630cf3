# SPDX-License-Identifier: Apache-2.0
"""Filling the store with kernels, and costing models from it.  No test asserts a time."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagewright import api
from stagewright.cost import fill
from stagewright.cost.alone import Bench, UnmeasurableError
from stagewright.cost.catalogue import load_catalogue
from stagewright.cost.fill import Filling, Setting, apply_store, fill_store
from stagewright.cost.kernels import Argument, KernelCall
from stagewright.cost.ort_session import providers_for
from stagewright.cost.roofline import apply_roofline
from stagewright.cost.steady import Patience, Steady
from stagewright.cost.store import Store
from stagewright.errors import InputError
from stagewright.readers import load

onnx = pytest.importorskip("onnx", reason="reads ONNX models")
pytest.importorskip("onnxruntime", reason="measures with onnxruntime (extra: run)")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 -- only where onnx is installed

QUICK = Patience(precision=0.5, seconds=0.001, warmup=0, least=1)


def dense(path: Path, widths: list[int], *, rows: int = 4, names: str = "n") -> Path:
    """Write a chain of products and activations."""
    rng = np.random.default_rng(0)
    nodes, stored, last = [], [], "x"
    for i, (a, b) in enumerate(pairwise(widths)):
        weight = rng.standard_normal((a, b)).astype(np.float32)
        stored.append(numpy_helper.from_array(weight, f"{names}w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"{names}w{i}"], [f"{names}m{i}"]))
        nodes.append(helper.make_node("Sigmoid", [f"{names}m{i}"], [f"{names}s{i}"]))
        last = f"{names}s{i}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "dense",
        [value("x", TensorProto.FLOAT, [rows, widths[0]])],
        [value(last, TensorProto.FLOAT, [rows, widths[-1]])],
        stored,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[KernelCall]:
    """Count measurements, and let each take as many picoseconds as the kernel has inputs' bytes."""
    calls: list[KernelCall] = []

    def measure(self: Bench, call: KernelCall) -> Steady:
        calls.append(call)
        ps = 1000 + sum(a.nbytes for a in call.inputs)
        return Steady(ps, ps, ps, 9, 2)

    monkeypatch.setattr(Bench, "measure", measure)
    return calls


def test_only_what_is_missing_is_measured(tmp_path: Path, measured: list[KernelCall]) -> None:
    first = dense(tmp_path / "first.onnx", [8, 16, 16, 16])
    second = dense(tmp_path / "second.onnx", [8, 16, 24], names="other")
    with Store(tmp_path / "store.sqlite") as store:
        found = fill_store(first, store)
        # Products of 8 x 16 and (twice) 16 x 16, three activations alike.
        assert (found.kernels, found.distinct, found.known, found.measured) == (6, 3, 0, 3)
        assert Counter(call.node.op_type for call in measured) == {"MatMul": 2, "Sigmoid": 1}
        measured.clear()
        found = fill_store(second, store)  # other names and weights, two of four kernels known
        assert (found.kernels, found.distinct, found.known, found.measured) == (4, 4, 2, 2)
        assert sorted(call.shapes for call in measured) == ["4x16 16x24", "4x24"]
        measured.clear()
        for path in (first, second):
            assert fill_store(path, store).measured == 0
        assert measured == []
        assert fill_store(first, store, Setting(threads=2)).measured == 3


def test_an_interrupted_filling_goes_on(
    tmp_path: Path, measured: list[KernelCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dense(tmp_path / "m.onnx", [8, 16, 16, 24])
    whole = Bench.measure

    def stopping(self: Bench, call: KernelCall) -> Steady:
        if len(measured) == 2:
            raise KeyboardInterrupt
        return whole(self, call)

    with Store(tmp_path / "store.sqlite") as store:
        with monkeypatch.context() as patch:
            patch.setattr(Bench, "measure", stopping)
            with pytest.raises(KeyboardInterrupt):
                fill_store(path, store)
        assert store.count() == 2
        assert fill_store(path, store).known == 2


def test_work_is_the_sum_of_kernels(tmp_path: Path, measured: list[KernelCall]) -> None:
    path = dense(tmp_path / "m.onnx", [8, 16, 16])
    with Store(tmp_path / "store.sqlite") as store:
        found = fill_store(path, store)
        graph = apply_store(load(path), path, store)
    assert (
        graph.total_work
        == found.predicted
        == sum(1000 + 4 * size for size in (32 + 128, 64, 64 + 256, 64))
    )
    assert set(graph.node_sources) == {"measured"}


def test_a_model_is_costed_without_running_it(
    tmp_path: Path, measured: list[KernelCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dense(tmp_path / "m.onnx", [8, 16])
    with Store(tmp_path / "store.sqlite") as store:
        fill_store(path, store)
        monkeypatch.setattr(fill, "_look", None)
        assert apply_store(load(path), path, store).total_work > 0


def test_what_is_missing_is_named_or_estimated(tmp_path: Path, measured: list[KernelCall]) -> None:
    known = dense(tmp_path / "known.onnx", [8, 16])
    path = dense(tmp_path / "m.onnx", [8, 16, 32])
    with Store(tmp_path / "store.sqlite") as store:
        fill_store(known, store)
        graph = load(path)
        with pytest.raises(InputError) as caught:
            apply_store(graph, path, store)
        assert "got none for those of 2 nodes, first" in str(caught.value)
        assert "stagewright profile MODEL --fill" in str(caught.value)
        estimate = apply_roofline(graph, load_catalogue().device("cpu-core"))
        mixed = apply_store(graph, path, store, fallback=estimate)
    assert mixed.node_sources == ("measured", "measured", "roofline", "roofline")
    assert mixed.work.tolist()[2:] == estimate.work.tolist()[2:]
    assert mixed.work.tolist()[0] == 1000 + 4 * (32 + 128)


def test_kernels_that_do_not_run_alone_are_measured_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Bench, call: KernelCall) -> Steady:
        raise UnmeasurableError(call.op)

    monkeypatch.setattr(Bench, "measure", refuse)
    path = dense(tmp_path / "m.onnx", [8, 16])
    with Store(tmp_path / "store.sqlite") as store:
        found = fill_store(path, store)
        assert (found.measured, found.in_place) == (2, 2)
        assert fill_store(path, store).measured == 0
        assert set(apply_store(load(path), path, store).node_sources) == {"measured"}


def test_control_flow_is_measured_in_place(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"])], "branch", [], [value("b", TensorProto.FLOAT, [4])]
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["cond"]),
        helper.make_node("If", ["cond"], ["y"], then_branch=branch, else_branch=branch),
    ]
    graph = helper.make_graph(
        nodes,
        "flow",
        [value("x", TensorProto.FLOAT, [4])],
        [value("y", TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.array(0, np.float32), "zero")],
    )
    path = tmp_path / "flow.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    with Store(tmp_path / "store.sqlite") as store:
        found = fill_store(path, store, patience=QUICK)
        assert found.in_place == 1
        assert found.kernels == found.measured == 3


def call_of(op: str = "MatMul", *, shape: tuple[int, ...] = (4, 8), **more: Any) -> KernelCall:
    node = helper.make_node(op, ["a", "b"], ["y"], name=more.pop("name", "n"), **more)
    inputs = (Argument(1, shape), Argument(1, (8, 16), True))
    return KernelCall(node, 13, inputs, ((1, (4, 16)),))


def test_equal_kernels_have_one_key() -> None:
    assert call_of().key == call_of(name="another").key
    renamed = call_of()
    renamed.node.input[:] = ["p", "q"]
    assert renamed.key == call_of().key


@pytest.mark.parametrize(
    "other",
    [
        call_of("Gemm"),
        call_of(shape=(5, 8)),
        call_of(transA=1),
        dataclasses.replace(call_of(), version=9),
        dataclasses.replace(call_of(), inputs=(Argument(1, (4, 8)), Argument(1, (8, 16)))),
        dataclasses.replace(call_of(), inputs=(Argument(10, (4, 8)), Argument(10, (8, 16), True))),
    ],
)
def test_different_kernels_have_different_keys(other: KernelCall) -> None:
    assert other.key != call_of().key


def test_contents_count_only_where_they_matter() -> None:
    def with_content(op: str, array: Any) -> KernelCall:
        tensor = numpy_helper.from_array(np.array(array), "c").SerializeToString()
        elem = helper.np_dtype_to_tensor_dtype(np.array(array).dtype)
        inputs = (Argument(1, (4,)), Argument(elem, np.shape(array), True, tensor))
        return KernelCall(helper.make_node(op, ["a", "b"], ["y"]), 13, inputs, ((1, (4,)),))

    def f(number: float) -> Any:
        return np.array([number], np.float32)

    assert with_content("Add", f(1)).key == with_content("Add", f(2)).key
    assert with_content("Pow", f(1)).key != with_content("Pow", f(2)).key
    assert with_content("Tile", [2]).key != with_content("Tile", [3]).key
    assert with_content("Reshape", [2]).key == with_content("Squeeze", [3]).key  # views


@pytest.mark.parametrize("streamed", [False, True])
def test_copies_imitate_the_caches(streamed: bool) -> None:
    cache = 2**20
    bench = Bench(1, "cpu", streamed, cache, QUICK)

    def copies(weight: int) -> int:
        node = helper.make_node("MatMul", ["a", "b"], ["y"])
        inputs = (Argument(1, (1, 4)), Argument(1, (weight // 4,), True))
        return bench.copies(KernelCall(node, 13, inputs, ((1, (1, 4)),)))

    for weight in (4, 2**10, 2**16, 2**20, 2**26, 2**31):
        assert 1 <= copies(weight) <= 24
    if streamed:
        assert copies(2**17) * 2**17 >= 2 * cache
    assert copies(2**31) == 1


def test_a_kernel_is_measured_alone() -> None:
    found = Bench(1, "cpu", False, 2**20, QUICK).measure(call_of())
    assert 0 < found.median < 10**12
    assert found.low <= found.median <= found.high


def test_what_the_runtime_refuses_is_said() -> None:
    bench = Bench(1, "cpu", False, 2**20, QUICK)
    with pytest.raises(UnmeasurableError, match="Nonsense 4x8 8x16: "):
        bench.measure(call_of("Nonsense"))


def test_a_provider_that_is_not_there_is_refused(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this runtime has it")
    with pytest.raises(InputError, match="expected an onnxruntime with CUDAExecutionProvider"):
        providers_for("cuda", "A test")
    with pytest.raises(InputError, match="provider: expected one of cpu, cuda, got 'tpu'"):
        providers_for("tpu", "A test")


def test_from_filling_to_the_plan_file(tmp_path: Path, measured: list[KernelCall]) -> None:
    known, path = dense(tmp_path / "k.onnx", [8, 16]), dense(tmp_path / "m.onnx", [8, 16, 32])
    where = tmp_path / "store.sqlite"
    with Store(where) as store:
        filling = fill_store(known, store)
    assert isinstance(filling, Filling)
    graph = api.read(path, store=where, device="cpu-core", fuse=False)
    source = api.Source(str(path), device="cpu-core", store=str(where), fuse=False)
    result = api.plan(graph, 2, bandwidth="1GB/s", source=source)
    costs = result.to_json()["source"]["costs"]
    assert costs["measured"]["nodes"] + costs["roofline"]["nodes"] == 4
    assert ("names" in costs["measured"]) != ("names" in costs["roofline"])
    result.save(tmp_path / "plan.json")
    _, again = api.read_plan(tmp_path / "plan.json")
    assert again == source
    assert api.check(graph, tmp_path / "plan.json").valid
