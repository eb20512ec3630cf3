# SPDX-License-Identifier: Apache-2.0
"""Operations that PyTorch's operators count."""

from __future__ import annotations

from typing import Any

import pytest
from tests.readers.torch_graphs import node

import stagewright as sw

pytest.importorskip("torch", reason="the PyTorch readers need torch")

import torch
from torch import nn


@pytest.mark.parametrize(
    ("layer", "input_dims", "flops"),
    [
        (nn.MaxPool2d(2), (1, 6, 8, 8), 6 * 16 * 4),
        (nn.AvgPool2d((3, 2), stride=1), (1, 6, 8, 8), 6 * 6 * 7 * 6),
        (nn.AvgPool1d(3, stride=1), (1, 6, 8), 6 * 6 * 3),
        (nn.AvgPool3d(2), (1, 6, 4, 4, 4), 6 * 8 * 8),
        # Kernels larger than the input, as some models use to pool all of it.
        (nn.AvgPool2d(2560, ceil_mode=True), (1, 6, 8, 8), 6 * 64),
        (nn.AvgPool1d(100, ceil_mode=True), (1, 6, 8), 6 * 8),
    ],
)
def test_pools_count_what_their_windows_see(
    layer: Any, input_dims: tuple[int, ...], flops: int
) -> None:
    graph = sw.read(nn.Sequential(layer).eval(), torch.zeros(input_dims))
    assert [node(graph, name)["flops"] for name in graph.node_names] == [flops]
