# SPDX-License-Identifier: Apache-2.0
"""Small modules, one for each thing that real exports need."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from tests.readers.torch_graphs import consumers, node, params, tensors

import stagewright as sw
from stagewright.errors import InputError, ModelError
from stagewright.readers import StagewrightWarning

pytest.importorskip("torch", reason="the PyTorch readers need torch")

import torch
from torch import nn

Tensor = Any


class Body(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """A module of one function and some layers."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, (nn.Module, nn.Parameter)):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def read(function: Callable[..., Any], *inputs: Tensor, **parts: Any) -> sw.CostGraph:
    return sw.read(Body(function, **parts).eval(), inputs)


def meta(*shape: int, dtype: Any = None) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


# --- views, storages, sizes ---------------------------------------------------------------------


def test_consumers_of_a_fused_projection_pay_for_their_part() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        q, k, v = m.qkv(x).chunk(3, -1)
        return m.a(q.view(2, 4, 2, 4).transpose(1, 2)) + m.a(
            k.view(2, 4, 2, 4).transpose(1, 2)
        ), v.relu()

    graph = read(run, torch.zeros(2, 4, 8), qkv=nn.Linear(8, 24), a=nn.Linear(4, 4))
    assert consumers(graph, "qkv/linear") == [
        (256, ["a/linear"]),
        (256, ["a/linear_1"]),
        (256, ["relu"]),
    ]


def test_part_that_nobody_reads_is_kept_but_not_sent() -> None:
    graph = read(
        lambda m, x: m.b(m.a(x)[:, -1]), torch.zeros(2, 5, 8), a=nn.Linear(8, 8), b=nn.Linear(8, 3)
    )
    assert tensors(graph)["a/linear"] == [(2 * 8 * 4, ["b/linear"]), (2 * 4 * 8 * 4, [])]


def test_views_are_no_nodes_and_copies_are() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.a(x).view(4, 2, 4).transpose(0, 1)
        return y.reshape(8, 4), y.reshape(2, 4, 4), y.contiguous(), y.expand(3, 2, 4, 4)

    graph = read(run, torch.zeros(4, 8), a=nn.Linear(8, 8))
    # The first reshape joins what a transposition took apart, so it copies; the second does not.
    assert graph.node_names == ("a/linear", "reshape", "contiguous")
    assert node(graph, "reshape") == {
        "op": "reshape", "flops": 0, "bytes": 256, "dtype": "float32", "replicable": False,
    }  # fmt: skip


def test_contiguous_of_a_contiguous_tensor_is_a_view() -> None:
    graph = read(lambda m, x: x.relu().contiguous().float().sin(), torch.zeros(4))
    assert graph.node_names == ("relu", "sin")


def test_an_expanded_tensor_is_read_once() -> None:
    graph = read(lambda m, x: x.relu().expand(100, 8) + 1, torch.zeros(1, 8))
    assert node(graph, "add")["bytes"] == 8 * 4 + 800 * 4


# --- parameters ----------------------------------------------------------------------------------


def test_tied_parameters_are_one() -> None:
    model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50, bias=False))
    model[1].weight = model[0].weight
    graph = sw.read(model, torch.zeros(1, 4, dtype=torch.int64))
    assert params(graph) == [(50 * 8 * 4, ["0/embedding", "1/linear"])]
    assert (
        node(graph, "0/embedding")["bytes"] == 4 * 8 + 2 * 4 * 8 * 4
    )  # ids, rows read and written


def test_parameters_that_share_a_storage_are_one() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return x @ m.w + (x @ m.w[:4].repeat(2, 1)).relu() + x @ m.piece

    w = nn.Parameter(torch.zeros(8, 8))
    graph = read(run, torch.zeros(2, 8), w=w, piece=w.detach()[:, :8])
    assert [size for size, _ in params(graph)] == [256]


def test_buffers_and_constants_fold() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        mask = torch.full((64, 64), float("-inf")).triu(1)
        angle = torch.outer(torch.arange(64), m.rate)
        return x @ m.w.t() + mask, x * angle.cos()[:, :1], x * (m.big.sum() + 1)

    parts = {
        "rate": torch.zeros(32),
        "w": nn.Parameter(torch.zeros(64, 64)),
        "big": torch.zeros(5000),
    }
    graph = read(run, torch.zeros(64, 64), **parts)
    assert graph.node_names == ("matmul", "add", "mul", "mul_1")
    held: dict[str, list[int]] = {}
    for size, (user,) in params(graph):
        held.setdefault(user, []).append(size)
    # The angles are made from 32 rates and 64 positions, which are smaller; the sum is smaller than
    # what it was made from.
    assert {user: sorted(sizes) for user, sizes in held.items()} == {
        "matmul": [64 * 64 * 4],
        "add": [64 * 64 * 4],
        "mul": [32 * 4, 64 * 8],
        "mul_1": [4],
    }


def test_random_numbers_do_not_fold() -> None:
    graph = read(lambda m, x: x + torch.rand(4), torch.zeros(4))
    assert graph.node_names == ("rand", "add")


# --- operators in place --------------------------------------------------------------------------


def test_operators_in_place_keep_their_order() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        z = y.sum(0)
        y[:, 0].mul_(2)
        return y.relu() + z

    graph = read(run, torch.zeros(2, 8), a=nn.Linear(8, 8))
    order = graph.topological_order.tolist()
    at = {graph.node_names[v]: order.index(v) for v in range(graph.num_nodes)}
    assert at["a/linear"] < at["sum"] < at["mul"] < at["relu"]
    waits = [
        (graph.node_names[p], [graph.node_names[v] for v in row])
        for p, row, time in zip(
            graph.tensor_producer.tolist(),
            graph.tensor_consumers.rows(),
            graph.tensor_time.tolist(),
            strict=True,
        )
        if time >= 0
    ]
    assert waits == [("sum", ["mul"])]
    # The later reader gets what was written, not what the linear made.
    assert consumers(graph, "mul") == [(64, ["relu"])]
    assert node(graph, "mul")["bytes"] == 2 * 2 * 4


def test_relu_in_place_costs_what_relu_costs() -> None:
    for function in (lambda m, x: m.a(x).relu(), lambda m, x: m.a(x).relu_()):
        graph = read(function, torch.zeros(2, 8), a=nn.Linear(8, 8))
        assert graph.node_names == ("a/linear", "relu")
        assert node(graph, "relu")["bytes"] == 2 * 64


def test_whoever_touches_written_state_shares_a_stage() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = x * m.count
        m.count.add_(1)
        return y.sin() + m.count

    graph = read(run, torch.zeros(8), count=torch.zeros(1))
    assert graph.node_names == ("mul", "add", "sin", "add_1")
    assert graph.uncuttable.tolist() == [[0, 1], [1, 3]]


def test_dead_code_is_left_out() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x.sin().cos()
        return x.relu()

    assert read(run, torch.zeros(8)).node_names == ("relu",)


# --- operators -----------------------------------------------------------------------------------


def test_several_results() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        values, indices = x.relu().topk(3)
        return values.sin(), indices + 1

    graph = read(run, torch.zeros(2, 8))
    assert consumers(graph, "topk") == [(2 * 3 * 4, ["sin"]), (2 * 3 * 8, ["add"])]


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_one_node_with_its_real_cost(causal: bool) -> None:
    heads, groups, length, size = 8, 2, 16, 4

    def run(m: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=causal, enable_gqa=True
        )

    graph = read(
        run,
        meta(1, heads, length, size),
        meta(1, groups, length, size),
        meta(1, groups, length, size),
    )
    (name,) = graph.node_names
    pairs = length * (length + 1) // 2 if causal else length * length
    assert node(graph, name)["flops"] == heads * pairs * (4 * size + 6)
    # Keys and values are read once for each group of heads, and the scores never leave the chip.
    assert node(graph, name)["bytes"] == 4 * length * size * (2 * heads + 2 * groups)


def test_attention_agrees_with_torch_counter() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True).eval()
    inputs = torch.zeros(2, 32, 64)
    graph = sw.read(layer, inputs)
    # Its counter knows the plain kernel, and neither the fused layer nor the one for CPUs.
    torch.backends.mha.set_fastpath_enabled(False)
    plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with plain, FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(inputs)
    torch.backends.mha.set_fastpath_enabled(True)
    counted = [
        int(graph.flops[v])
        for v, op in enumerate(graph.node_ops)
        if op in ("linear", "scaled_dot_product_attention")
    ]
    assert len(counted) == 5
    assert sum(counted) == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Conv2d(8, 16, 3, stride=2, groups=2), (2, 8, 16, 16)),
        (nn.ConvTranspose2d(8, 4, 3, stride=2), (2, 8, 16, 16)),
        (nn.Linear(32, 8, bias=False), (4, 32)),
        (nn.Conv1d(8, 16, 5, padding="same"), (2, 8, 50)),
        (nn.Conv3d(2, 4, 3), (1, 2, 8, 8, 8)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_products_agree_with_torch_counter(layer: Any, inputs: tuple[int, ...]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    given = torch.zeros(inputs)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = layer(given)
    additions = 0 if layer.bias is None else result.numel()
    assert int(sw.read(layer, given).flops.sum()) == counter.get_total_flops() + additions


def test_composite_operators_count_their_parts() -> None:
    graph = read(lambda m, a, b: torch.einsum("bij,bjk->bik", a, b), meta(2, 10, 8), meta(2, 8, 4))
    assert [(node(graph, n)["op"], node(graph, n)["flops"]) for n in graph.node_names] == [
        ("einsum", 2 * 2 * 10 * 8 * 4)
    ]


def test_recurrent_layer_is_one_node() -> None:
    graph = sw.read(nn.LSTM(8, 16, 2, batch_first=True), (torch.zeros(2, 10, 8),))
    weights = 4 * 16 * (8 + 16 + 16 + 16)
    assert graph.node_names == ("lstm",)
    assert node(graph, "lstm")["flops"] == 2 * 2 * 10 * weights + 10 * 2 * 10 * 16


# --- higher-order operators ----------------------------------------------------------------------


def test_cond_is_one_node_of_the_dearer_side() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: m.a(m.b(x)), lambda x: m.b(x) * 2.0, (x,))

    graph = read(run, torch.zeros(2, 8), a=nn.Linear(8, 8), b=nn.Linear(8, 8))
    assert graph.node_names == ("sum", "gt", "cond")
    assert node(graph, "cond")["flops"] == 2 * 2 * 8 * (2 * 8 + 1)
    assert sum(size for size, _ in params(graph)) == 2 * (64 + 8) * 4


def test_scan_is_one_node_of_all_its_steps() -> None:
    from torch._higher_order_ops.scan import scan

    def run(m: Any, h: Tensor, xs: Tensor) -> Tensor:
        return scan(lambda c, x: (torch.tanh(c @ m.w + x), c * 1.0), h, xs)

    graph = read(run, torch.zeros(2, 8), torch.zeros(5, 2, 8), w=nn.Parameter(torch.zeros(8, 8)))
    assert graph.node_names == ("scan",)
    step = 2 * 2 * 8 * 8 + 3 * 16
    assert node(graph, "scan")["flops"] == 5 * step


def test_while_loop_is_one_node_and_says_that_its_length_is_unknown() -> None:
    from torch._higher_order_ops.while_loop import while_loop

    def run(m: Any, n: Tensor, x: Tensor) -> Tensor:
        return while_loop(lambda n, x: n > 0, lambda n, x: (n - 1, x.sin()), (n, x))

    with pytest.warns(StagewrightWarning, match=r"loops of unknown length.*while_loop"):
        graph = read(run, torch.tensor(3), torch.zeros(8))
    assert graph.node_names == ("while_loop",)
    assert node(graph, "while_loop")["flops"] == 1 + 1 + 8


def test_context_switches_are_walked_through() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False), torch.no_grad():
            y = x.sin()
        return m.a(y)

    graph = read(run, torch.zeros(2, 8), a=nn.Linear(8, 8))
    assert graph.node_names == ("sin", "a/linear")


def test_vmapped_parts_are_plain_operators_on_whole_batches() -> None:
    graph = read(lambda m, x: torch.vmap(lambda row: (row * 2).sin())(x), meta(3, 4))
    assert graph.node_names == ("mul", "sin")
    assert node(graph, "sin")["flops"] == 12


def test_flex_attention_is_one_node() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    def run(m: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return m.a(flex_attention(q, k, v, score_mod=lambda score, b, h, i, j: score + (i - j)))

    inputs = [torch.zeros(2, 4, 128, 16) for _ in range(3)]
    graph = read(run, *inputs, a=nn.Linear(16, 16))
    assert graph.node_names == ("flex_attention", "a/linear")
    pairs = 2 * 4 * 128 * 128
    assert node(graph, "flex_attention")["flops"] == pairs * (4 * 16 + 6 + 2)
    assert 4 * 2 * 4 * 128 * 16 * 4 < node(graph, "flex_attention")["bytes"] < 300_000


# --- masks and position tables -------------------------------------------------------------------


class Masked(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """Layers that all read one mask, made from the model's second input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = (1.0 - mask[:, :, None].to(x.dtype)) * -1e9
        for layer in self.layers:
            x = layer(x) + bias
        return x


def test_masks_are_replicable_unless_asked_otherwise() -> None:
    inputs = (meta(1, 64, 256), meta(1, 64, dtype=torch.int64))
    graph = sw.read(Masked().to("meta"), inputs)
    copied = [n for n in graph.node_names if node(graph, n)["replicable"]]
    assert copied == ["to", "rsub", "mul"]
    plain = sw.read(Masked().to("meta"), inputs, replicate=False)
    assert not plain.replicable.any()
    assert plain.node_names == graph.node_names
    best = sw.plan(sw.read(Masked().to("meta"), inputs, device="h100-sxm"), 4, bandwidth="1GB/s")
    charged = sw.plan(
        sw.read(Masked().to("meta"), inputs, replicate=False, device="h100-sxm"),
        4,
        bandwidth="1GB/s",
    )
    assert best.bottleneck <= charged.bottleneck


def test_what_images_are_made_into_is_not_replicable() -> None:
    graph = read(lambda m, x: m.a(x / 255.0), meta(1, 64, 256), a=nn.Linear(256, 4096).to("meta"))
    assert not graph.replicable.any()


# --- sizes that depend on data -------------------------------------------------------------------


def test_results_sized_by_data_count_at_their_largest() -> None:
    with pytest.warns(StagewrightWarning, match="depends on the data, at their largest: nonzero"):
        graph = read(lambda m, x: x.relu().nonzero().float().sin(), torch.zeros(3, 4))
    assert consumers(graph, "nonzero") == [(12 * 2 * 8, ["to"])]


def test_operators_without_a_rule_are_named() -> None:
    with pytest.warns(StagewrightWarning, match=r"without a cost rule.*linalg_eigh"):
        graph = read(lambda m, x: torch.linalg.eigh(x)[0], torch.zeros(4, 4))
    assert node(graph, graph.node_names[0])["flops"] == 0


# --- dynamic programs ----------------------------------------------------------------------------


def test_dynamic_dimensions_take_the_shape_given() -> None:
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        nn.Linear(8, 4), (torch.zeros(3, 8),), dynamic_shapes={"input": {0: batch}}
    )
    assert int(sw.read(program).flops.sum()) == 3 * 4 * 17
    assert int(sw.read(program, shapes={"input": [5, 8]}).flops.sum()) == 5 * 4 * 17
    with pytest.raises(InputError, match="expected 8 on axis 1, which the program fixes, got 9"):
        sw.read(program, shapes={"input": [5, 9]})
    with pytest.raises(InputError, match=r"names of inputs \(input\), got 'x'"):
        sw.read(program, shapes={"x": [5, 8]})


# --- what cannot be read -------------------------------------------------------------------------


def test_failure_names_cause_module_line_and_remedy() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x

    outer = nn.Sequential(nn.ReLU(), Body(run))
    with pytest.raises(ModelError) as caught:
        sw.read(outer, torch.zeros(4))
    message = str(caught.value)
    assert message.startswith("module Sequential: torch.export, ")
    assert "in module '1'" in message
    assert "return x * 2 if x.sum() > 0 else x" in message
    assert "GuardOnDataDependentSymNode: Could not guard on data-dependent expression" in message
    assert message.endswith("use torch.where() or torch.cond().")


def test_failure_names_the_operator() -> None:
    with pytest.raises(ModelError) as caught:
        sw.read(nn.Sequential(nn.Linear(8, 4), nn.Linear(5, 4)), torch.zeros(2, 8))
    message = str(caught.value)
    assert "in module '1'" in message
    assert "operator 'aten." in message
    assert "[2, 4] X [5, 4]" in message
    assert "check the shapes of the example inputs." in message


def test_module_without_inputs() -> None:
    with pytest.raises(InputError, match=r"example_inputs: expected a tuple of tensors.*got None"):
        sw.read(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"example_inputs.*got int"):
        sw.read(nn.Linear(2, 2), 3)


def test_module_of_constants_only() -> None:
    with pytest.raises(ModelError, match="a node that depends on an input, got only constants"):
        read(lambda m, x: torch.zeros(4) + 1, torch.zeros(4))


def test_options_of_configurations_are_refused() -> None:
    with pytest.raises(InputError, match=r"Linear: batch: expected none.*got 2"):
        sw.read(nn.Linear(2, 2), torch.zeros(1, 2), batch=2)
    with pytest.raises(InputError, match=r"read: option: expected one of batch.*got 'btach'"):
        sw.read(nn.Linear(2, 2), torch.zeros(1, 2), btach=2)


# --- the whole -----------------------------------------------------------------------------------


def test_reading_twice_gives_the_same_graph() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    first, second = (sw.read(layer, torch.zeros(2, 10, 16)) for _ in range(2))
    assert first.sha256 == second.sha256
    assert first.node_names[0] == "self_attn/linear"


def test_a_read_module_is_planned_and_checked() -> None:
    model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", StagewrightWarning)
        graph = sw.read(model, torch.zeros(64, 512), device="h100-sxm")
    result = sw.plan(graph, 4, device="h100-sxm")
    assert result.status == "optimal"
    assert sw.check(graph, result).valid
