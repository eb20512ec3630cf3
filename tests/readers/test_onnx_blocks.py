# SPDX-License-Identifier: Apache-2.0
"""Attention and recurrent operators against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stagewright.readers.onnx_contrib import CONTRIB_SHAPES
from stagewright.readers.onnx_types import Value

from .models import MS, one_node

INT32 = 6


@pytest.mark.parametrize(
    ("op", "gates", "pointwise"), [("LSTM", 4, 9), ("GRU", 3, 8), ("RNN", 1, 1)]
)
@pytest.mark.parametrize("bias", [False, True])
def test_recurrent(tmp_path: Path, op: str, gates: int, pointwise: int, bias: bool) -> None:
    # 7 steps, batch 2, 5 inputs, 3 hidden, both directions
    inputs: list[Any] = [(7, 2, 5), (2, gates * 3, 5), (2, gates * 3, 3)]
    if bias:
        inputs.append((2, 2 * gates * 3))
    attributes = {"hidden_size": 3, "direction": "bidirectional"}
    graph = one_node(tmp_path, op, inputs, attributes=attributes)
    step = gates * 3 * 2 * (5 + 3 + bias) + pointwise * 3
    assert graph.flops.tolist() == [7 * 2 * 2 * step]


def test_the_layout_of_a_recurrent_net_changes_nothing(tmp_path: Path) -> None:
    inputs: list[Any] = [(2, 7, 5), (1, 12, 5), (1, 12, 3)]
    graph = one_node(tmp_path, "LSTM", inputs, attributes={"hidden_size": 3, "layout": 1})
    assert graph.flops.tolist() == [14 * (12 * 16 + 27)]


def cells(batch: int, heads: int, queries: int, keys: int, sizes: int, masked: bool = False) -> int:
    """Scores, scale, (mask,) softmax, sum of values; `sizes` is that of keys plus values."""
    return batch * heads * queries * keys * (2 * sizes + 1 + masked + 5)


@pytest.mark.parametrize(
    ("inputs", "attributes", "flops"),
    [
        ([(2, 4, 6, 8), (2, 4, 9, 8), (2, 4, 9, 16)], {}, cells(2, 4, 6, 9, 24)),
        ([(2, 4, 6, 8), (2, 2, 6, 8), (2, 2, 6, 8)], {"is_causal": 1}, cells(2, 4, 6, 6, 16, True)),
        ([(2, 4, 6, 8), (2, 4, 9, 8), (2, 4, 9, 8), (6, 9)], {}, cells(2, 4, 6, 9, 16, True)),
        (
            [(2, 6, 32), (2, 9, 16), (2, 9, 16)],
            {"q_num_heads": 4, "kv_num_heads": 2},
            cells(2, 4, 6, 9, 16),
        ),
    ],
)
def test_attention(tmp_path: Path, inputs: list[Any], attributes: Any, flops: int) -> None:
    graph = one_node(tmp_path, "Attention", inputs, opset=23, attributes=attributes)
    assert graph.flops.tolist() == [flops]


def test_attention_with_a_past(tmp_path: Path) -> None:
    inputs: list[Any] = [(1, 2, 1, 8)] * 3 + [None, (1, 2, 7, 8), (1, 2, 7, 8)]
    graph = one_node(tmp_path, "Attention", inputs, outputs=3, opset=23)
    assert graph.flops.tolist() == [cells(1, 2, 1, 8, 16)]
    assert graph.tensor_bytes.tolist() == [64, 512, 512]


def test_attention_with_projection(tmp_path: Path) -> None:
    inputs: list[Any] = [(2, 6, 32), (32, 96), (96,)]
    graph = one_node(tmp_path, "Attention", inputs, domain=MS, attributes={"num_heads": 4})
    assert graph.flops.tolist() == [12 * 96 * 65 + cells(2, 4, 6, 6, 16)]
    assert graph.tensor_bytes.tolist() == [2 * 6 * 32 * 4]


@pytest.mark.parametrize(
    ("inputs", "flops", "width"),
    [
        ([(2, 6, 32), (2, 9, 32), (2, 9, 64)], cells(2, 4, 6, 9, 8 + 16), 64),
        ([(2, 6, 32), (2, 4, 9, 8), (2, 4, 9, 8)], cells(2, 4, 6, 9, 16), 32),
        ([(2, 6, 4, 3, 8)], cells(2, 4, 6, 6, 16), 32),
        ([(2, 6, 32), (2, 6, 32), (2, 6, 32), (96,)], cells(2, 4, 6, 6, 16) + 2 * 6 * 32, 32),
    ],
)
def test_multi_head_attention(tmp_path: Path, inputs: list[Any], flops: int, width: int) -> None:
    graph = one_node(tmp_path, "MultiHeadAttention", inputs, domain=MS, attributes={"num_heads": 4})
    assert graph.flops.tolist() == [flops]
    assert graph.tensor_bytes.tolist() == [2 * 6 * width * 4]


@pytest.mark.parametrize("packed", [False, True])
def test_group_query_attention(tmp_path: Path, packed: bool) -> None:
    # one new token, 8 query heads and 2 key heads of size 16, a buffer of 64 keys
    query = (1, 1, (8 + 2 * 2) * 16) if packed else (1, 1, 128)
    keys = None if packed else (1, 1, 32)
    past = (1, 2, 64, 16)
    inputs = [query, keys, keys, past, past, ((1,), INT32), ((1,), INT32)]
    attributes = {"num_heads": 8, "kv_num_heads": 2, "do_rotary": 1}
    graph = one_node(
        tmp_path, "GroupQueryAttention", inputs, outputs=3, domain=MS, attributes=attributes
    )
    assert graph.flops.tolist() == [cells(1, 8, 1, 64, 32, masked=True) + 3 * 10 * 16]
    # query and new rows, the whole cache read, two lengths, the result, the new rows written
    assert graph.nbytes.tolist() == [4 * (192 + 2 * 64 * 32 + 2 + 128 + 64)]
    assert graph.tensor_bytes.tolist() == [128 * 4, 2 * 64 * 16 * 4, 2 * 64 * 16 * 4]


def test_attention_for_an_older_onnx() -> None:
    """Where onnx has no schema for Attention yet, its shapes come from a rule."""
    query, key, value = (Value(1, s) for s in ((2, 4, 6, 8), (2, 2, 9, 8), (2, 2, 9, 16)))
    past = Value(1, (2, 2, 3, 8))
    made = CONTRIB_SHAPES["Attention"]({}, [query, key, value, None, past], 3)
    assert [v.shape for v in made] == [(2, 4, 6, 16), (2, 2, 12, 8), (2, 2, 12, 16)]
    flat = [Value(1, s) for s in ((2, 6, 32), (2, 9, 16), (2, 9, 32))]
    made = CONTRIB_SHAPES["Attention"]({"q_num_heads": 4, "kv_num_heads": 2}, flat, 3)
    assert [v.shape for v in made] == [(2, 6, 64), (2, 2, 9, 8), (2, 2, 9, 16)]
