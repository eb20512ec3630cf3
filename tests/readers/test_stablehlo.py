# SPDX-License-Identifier: Apache-2.0
"""StableHLO: inlining, loops, weights, costs; needs jaxlib, and one test JAX."""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stagewright.errors import InputError, MissingDependencyError
from stagewright.graph import CostGraph
from stagewright.readers import StagewrightWarning, load

from .test_fuzz import assert_read_or_refused, damaged

SAMPLES = Path(__file__).parents[1] / "data" / "stablehlo"
with_jaxlib = pytest.mark.skipif(
    importlib.util.find_spec("jaxlib") is None, reason="jaxlib is absent: pip install '.[jax]'"
)
F32 = 4


@contextmanager
def said(*patterns: str) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    texts = [str(w.message) for w in caught if issubclass(w.category, StagewrightWarning)]
    assert len(texts) == (1 if patterns else 0), texts
    assert all(re.search(pattern, texts[0]) for pattern in patterns), texts


def read(tmp_path: Path, text: str, **options: str) -> CostGraph:
    (tmp_path / "m.mlir").write_text(text)
    return load(tmp_path / "m.mlir", options=options)


def nodes(graph: CostGraph) -> dict[str, tuple[int, int]]:
    pairs = zip(graph.flops.tolist(), graph.nbytes.tolist(), strict=True)
    return dict(zip(graph.node_names, pairs, strict=True))


def params(graph: CostGraph) -> list[tuple[int, list[str]]]:
    rows = zip(graph.param_bytes.tolist(), graph.param_users.rows(), strict=True)
    return [(size, [graph.node_names[u] for u in users]) for size, users in rows]


def main(body: str, arguments: str, result: str, more: str = "") -> str:
    return f"module @m {{ func.func public @main({arguments}) -> {result} {{ {body} }} {more} }}"


@with_jaxlib
@pytest.mark.parametrize("name", ["scan.mlir", "scan.mlirbc"])
def test_a_scan_over_layers_is_unrolled(name: str) -> None:
    with said("inputs taken to be the arguments x, the others parameters", "as the dearest: case"):
        graph = load(SAMPLES / name)
    prefix = "while[1]/jit(net)/while/body/closed_call/"
    layer = {k.removeprefix(prefix): v for k, v in nodes(graph).items() if k.startswith(prefix)}
    # x (4, 16) times w1 (16, 32), then times w2 (32, 16): the layer's own weights are read.
    assert layer["dot_general"] == (2 * 4 * 16 * 32, F32 * (4 * 16 + 16 * 32 + 4 * 32))
    assert layer["dot_general#2"] == (2 * 4 * 16 * 32, F32 * (4 * 32 + 32 * 16 + 4 * 16))
    assert layer["add"] == (4 * 32, F32 * (2 * 4 * 32 + 32))  # the bias as it is stored
    assert layer["jit(relu)/max"] == (4 * 32, F32 * 2 * 4 * 32)  # the zero is part of the code
    assert layer["exp"] == (4 * 16, F32 * 2 * 4 * 16)
    assert len([k for k in nodes(graph) if k.endswith("closed_call/dot_general")]) == 3
    # Each layer has its slices of the stacked weights; the branch reads the whole stack.
    sizes = [size for size, _ in params(graph)]
    assert sorted(sizes) == sorted([F32 * 3 * 32 * 16, *[F32 * 32, F32 * 512, F32 * 512] * 3])
    assert all(len(users) == 1 for _, users in params(graph))
    # The dearer branch: tanh and two products.
    assert nodes(graph)["jit(net)/cond"][0] == 4 * 16 + 2 * (2 * 4 * 16 * 32)
    assert set(graph.node_dtypes) == {"float32", "bool", "int32"}
    assert graph.name == "jit_net"


@with_jaxlib
def test_a_loop_can_stay_one_node() -> None:
    with said("arguments x"):
        whole = load(SAMPLES / "scan.mlir", options={"unroll": "2"})
    assert whole.num_nodes == 5
    flops, _ = nodes(whole)["jit(net)/while"]
    with said("arguments x"):
        unrolled = load(SAMPLES / "scan.mlir")
    parts = sum(f for name, (f, _) in nodes(unrolled).items() if name.startswith("while["))
    # The body's own counter is two integer operations a round.
    assert flops == parts + 2 * 3
    assert [size for size, _ in params(whole)] == [F32 * n for n in (96, 1536, 1536)]


@with_jaxlib
@pytest.mark.parametrize("option", ["1", "x"])
def test_inputs_by_number_or_name(option: str) -> None:
    with said("as the dearest: case"):
        graph = load(SAMPLES / "scan.mlir", options={"inputs": option})
    assert len(graph.param_bytes) == 10
    with said("as the dearest: case"):
        graph = load(SAMPLES / "scan.mlir", options={"inputs": "x,params"})
    assert len(graph.param_bytes) == 0


@with_jaxlib
def test_inputs_and_outputs_are_told() -> None:
    with said("arguments x"):
        graph = load(SAMPLES / "scan.mlir")
    names = [[graph.node_names[v].rpartition("/")[2] for v in io.nodes] for io in graph.io]
    assert [(io.name, io.is_input, io.nbytes) for io in graph.io] == [
        ("x", True, 256),
        ("result 0", False, 256),
    ]
    assert names == [["dot_general", "add#2"], ["cond"]]


@with_jaxlib
def test_views_and_constants_are_no_nodes(tmp_path: Path) -> None:
    body = """
      %0 = stablehlo.reshape %x : (tensor<2x8xf32>) -> tensor<16xf32>
      %c = stablehlo.constant dense<2.0> : tensor<f32>
      %1 = stablehlo.broadcast_in_dim %c, dims = [] : (tensor<f32>) -> tensor<16xf32>
      %i = stablehlo.iota dim = 0 : tensor<16xf32>
      %2 = stablehlo.multiply %1, %i : tensor<16xf32>
      %3 = stablehlo.add %0, %2 : tensor<16xf32>
      %4 = stablehlo.reshape %3 : (tensor<16xf32>) -> tensor<4x4xf32>
      %5 = stablehlo.negate %4 : tensor<4x4xf32>
      %6 = stablehlo.add %5, %4 : tensor<4x4xf32>
      return %6 : tensor<4x4xf32>"""
    graph = read(tmp_path, main(body, "%x: tensor<2x8xf32>", "tensor<4x4xf32>"))
    assert nodes(graph) == {"add": (16, 128), "negate": (16, 128), "add#2": (16, 192)}
    assert graph.tensor_consumers.rows() == [[1, 2], [2]]
    assert graph.tensor_bytes.tolist() == [64, 64]


@with_jaxlib
def test_weights_prepared_ahead_stay_weights(tmp_path: Path) -> None:
    body = """
      %0 = stablehlo.transpose %w, dims = [1, 0] : (tensor<8x4xf32>) -> tensor<4x8xf32>
      %1 = stablehlo.convert %0 : (tensor<4x8xf32>) -> tensor<4x8xbf16>
      %2 = stablehlo.convert %x : (tensor<2x4xf32>) -> tensor<2x4xbf16>
      %3 = stablehlo.dot_general %2, %1, contracting_dims = [1] x [0] : (tensor<2x4xbf16>, tensor<4x8xbf16>) -> tensor<2x8xbf16>
      return %3 : tensor<2x8xbf16>"""
    arguments = "%w: tensor<8x4xf32>, %x: tensor<2x4xf32>"
    with said("inputs taken to be the arguments 1, the others parameters"):
        graph = read(tmp_path, main(body, arguments, "tensor<2x8xbf16>"))
    assert nodes(graph) == {"convert": (0, 48), "dot_general": (128, 2 * (8 + 32 + 16))}
    assert graph.node_dtypes == ("bfloat16", "bfloat16")
    assert params(graph) == [(128, ["dot_general"])]


@with_jaxlib
@pytest.mark.parametrize(
    ("op", "arguments", "result", "expected"),
    [
        (
            "convolution",
            ("1x8x8x4xf32", "3x3x2x6xf32"),
            "1x4x4x6xf32",
            (2 * 96 * 18, 4 * (256 + 108 + 96)),
        ),
        (
            "gather",
            ("100x16xf32", "5x1xi32"),
            "5x16xf32",
            (0, 2 * 320 + 20),
        ),
        ("stablehlo.compare LT, %x, %y", ("7xf32", "7xf32"), "7xi1", (7, 63)),
        ("dynamic_update_slice", ("64xf32", "4xf32"), "64xf32", (0, 32)),
    ],
)
def test_costs_of_operations(
    op: str, arguments: tuple[str, str], result: str, expected: tuple[int, int], tmp_path: Path
) -> None:
    a, b = (f"tensor<{t}>" for t in arguments)
    r = f"tensor<{result}>"
    types = f"({a}, {b}) -> {r}"
    text = f"%0 = {op} : {types}"
    if op == "convolution":
        text = (
            "%0 = stablehlo.convolution(%x, %y) dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f], "
            "window = {stride = [2, 2], pad = [[1, 1], [1, 1]]} "
            f"{{batch_group_count = 1 : i64, feature_group_count = 2 : i64}} : {types}"
        )
    if "gather" in op:
        text = (
            '%0 = "stablehlo.gather"(%x, %y) <{dimension_numbers = #stablehlo.gather<offset_dims = [1], '
            "collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>, "
            f"slice_sizes = array<i64: 1, 16>}}> : {types}"
        )
    if "dynamic_update" in op:
        text = (
            "%c = stablehlo.constant dense<0> : tensor<i32>\n"
            f"%0 = stablehlo.dynamic_update_slice %x, %y, %c : ({a}, {b}, tensor<i32>) -> {r}"
        )
    body = f"{text}\n return %0 : {r}"
    graph = read(tmp_path, main(body, f"%x: {a}, %y: {b}", r), inputs="2")
    ((cost,)) = [*nodes(graph).values()]
    assert cost == expected


@with_jaxlib
def test_what_has_no_rule_is_said(tmp_path: Path) -> None:
    body = """
      %0 = stablehlo.custom_call @mystery(%x) : (tensor<4xf32>) -> tensor<4xf32>
      %1 = stablehlo.custom_call @Sharding(%0) : (tensor<4xf32>) -> tensor<4xf32>
      %2 = stablehlo.abs %1 : tensor<4xf32>
      return %2 : tensor<4xf32>"""
    with said(r"operations without a cost rule \(bytes only\): mystery"):
        graph = read(tmp_path, main(body, "%x: tensor<4xf32>", "tensor<4xf32>"))
    assert graph.node_ops == ("mystery", "abs")
    assert nodes(graph)["custom_call"] == (0, 32)


ENDLESS = """
  %0:2 = stablehlo.while(%a = %n, %b = %x) : tensor<i32>, tensor<4xf32>
    cond { %z = stablehlo.constant dense<0> : tensor<i32>
           %t = stablehlo.compare LT, %a, %z, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
           stablehlo.return %t : tensor<i1> }
    do { %o = stablehlo.constant dense<1> : tensor<i32>
         %d = stablehlo.add %a, %o : tensor<i32>
         %e = stablehlo.abs %b : tensor<4xf32>
         stablehlo.return %d, %e : tensor<i32>, tensor<4xf32> }
  return %0#1 : tensor<4xf32>"""


@with_jaxlib
def test_a_loop_of_unknown_length_counts_once(tmp_path: Path) -> None:
    arguments = "%n: tensor<i32>, %x: tensor<4xf32>"
    with said("loops counted as one iteration or branches as the dearest: while"):
        graph = read(tmp_path, main(ENDLESS, arguments, "tensor<4xf32>"), inputs="2")
    assert nodes(graph)["while"][0] == 4 + 1 + 1


BAD = {
    "syntax": ("module {", r"x"),
    "type": (
        main("%0 = stablehlo.add %x, %y : tensor<4xf32>", "%x: tensor<4xf32>", "tensor<4xf32>"),
        r"a StableHLO module, got a fault in line 1 column \d+ \(",
    ),
    "dynamic": (
        main("return %x : tensor<?x4xf32>", "%x: tensor<?x4xf32>", "tensor<?x4xf32>"),
        r": @main: expected tensors of fixed shape, got tensor<\?x4xf32>. Lower it for fixed shapes.",
    ),
    "no function": ("module { }", "expected a function, got a module without any"),
    "no node": (
        main("return %x : tensor<4xf32>", "%x: tensor<4xf32>", "tensor<4xf32>"),
        "graph 'm': expected at least one node, got none",
    ),
    "recursion": (
        main(
            "%0 = func.call @f(%x) : (tensor<4xf32>) -> tensor<4xf32>\n return %0 : tensor<4xf32>",
            "%x: tensor<4xf32>",
            "tensor<4xf32>",
            "func.func private @f(%x: tensor<4xf32>) -> tensor<4xf32> {"
            "%0 = func.call @f(%x) : (tensor<4xf32>) -> tensor<4xf32>\n return %0 : tensor<4xf32> }",
        ),
        "@f: expected no recursion, got a call of itself",
    ),
}


@with_jaxlib
@pytest.mark.parametrize("name", BAD)
def test_bad_modules(name: str, tmp_path: Path) -> None:
    text, message = BAD[name]
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "m.mlir"))


@with_jaxlib
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "5"}, "option inputs: expected at most 4, the arguments there are, got 5"),
        ({"inputs": "z"}, r"option inputs: expected arguments of main \(params, x\), got 'z'"),
        ({"unroll": "-1"}, "option unroll: expected a number of iterations, got '-1'"),
    ],
)
def test_bad_options(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(SAMPLES / "scan.mlir", options=options)


def test_without_jaxlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: Any, **options: Any) -> Any:
        return subprocess.CompletedProcess(arguments, 0, b'{"kind": "missing"}', b"")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(MissingDependencyError) as caught:
        load(SAMPLES / "scan.mlir")
    assert str(caught.value) == (
        "Reading StableHLO needs the package 'jaxlib', which is not installed. "
        "Install it with: pip install 'stagewright[jax]'"
    )


def fuzz(seeds: range, path: Path) -> None:
    for name in ("scan.mlir", "scan.mlirbc"):
        content = (SAMPLES / name).read_bytes()
        for seed in seeds:
            (path / name).write_bytes(damaged(content, random.Random(seed)))
            assert_read_or_refused(path / name, seed)


@with_jaxlib
def test_damaged_modules(tmp_path: Path) -> None:
    fuzz(range(2), tmp_path)


@with_jaxlib
@pytest.mark.slow
def test_damaged_modules_at_length(tmp_path: Path) -> None:
    fuzz(range(2, 250), tmp_path)


@with_jaxlib
def test_a_crash_of_the_parser_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: Any, **options: Any) -> Any:
        return subprocess.CompletedProcess(arguments, -11, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(InputError, match=r"a file that MLIR's parser fails on \(exit code -11\)"):
        load(SAMPLES / "scan.mlirbc")


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is absent")
def test_operations_agree_with_those_that_xla_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    import jax
    import jax.numpy as jnp

    def block(weights: Any, x: Any) -> Any:
        parts = jnp.split(x @ weights["qkv"], 3, -1)
        q, k, v = (p.reshape(2, 32, 4, 16).transpose(0, 2, 1, 3) for p in parts)
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) / 4
        scores = jnp.where(jnp.tril(jnp.ones((32, 32), bool)), scores, -1e9)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), v)
        x = x + mixed.transpose(0, 2, 1, 3).reshape(2, 32, 64) @ weights["out"]
        return x + jax.nn.gelu(x @ weights["up"]) @ weights["down"]

    shapes = {"qkv": (64, 192), "out": (64, 64), "up": (64, 256), "down": (256, 64)}
    struct: Any = jax.ShapeDtypeStruct
    weights = {name: struct(shape, "float32") for name, shape in shapes.items()}
    lowered = jax.jit(block).lower(weights, struct((2, 32, 64), "float32"))
    counted: Any = lowered.cost_analysis()
    (tmp_path / "m.mlir").write_text(lowered.as_text(debug_info=True))
    with said("arguments x"):
        graph = load(tmp_path / "m.mlir")
    expected = counted["flops"] + counted["transcendentals"]
    assert int(graph.flops.sum()) == pytest.approx(expected, rel=0.01)
    assert sorted(graph.param_bytes.tolist()) == sorted(F32 * a * b for a, b in shapes.values())
