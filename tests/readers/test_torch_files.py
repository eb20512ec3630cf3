# SPDX-License-Identifier: Apache-2.0
"""Files of torch.export, through the process that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.readers.torch_graphs import params

import stagewright as sw
from stagewright.errors import InputError, ModelError

pytest.importorskip("torch", reason="the PyTorch readers need torch")

import torch
from torch import nn

from stagewright.readers.torch_file import read_pt2


class Tied(nn.Module):  # type: ignore[misc]  # torch is skipped by the type checker
    """An embedding and a head of one weight, a view and a write in place between."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.mix = nn.Linear(8, 24)
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Any) -> Any:
        q, k, v = self.mix(self.table(ids)).chunk(3, -1)
        q = q + k
        q[:, 0].mul_(2)
        return self.head(q * v)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tied.pt2"
    program = torch.export.export(
        Tied(),
        (torch.zeros(2, 4, dtype=torch.int64),),
        dynamic_shapes={"ids": {0: torch.export.Dim("batch", min=2, max=64)}},
    )
    torch.export.save(program, path)
    return path


def test_file_and_module_give_the_same_graph(file: Path) -> None:
    from_file = sw.read(file)  # through the process
    from_module = sw.read(Tied(), torch.zeros(2, 4, dtype=torch.int64))
    assert from_file.sha256 == from_module.sha256 == read_pt2(file).sha256
    assert from_file.node_dtypes == from_module.node_dtypes
    assert from_file.name == "tied"
    assert (1600, ["table/embedding", "head/linear"]) in params(from_file)


def test_shape_of_a_dynamic_dimension(file: Path) -> None:
    small, large = read_pt2(file), read_pt2(file, shapes={"ids": [6, 4]})
    assert large.flops.sum() == 3 * small.flops.sum()
    with pytest.raises(InputError, match=r"shapes: expected names of inputs \(ids\), got 'x'"):
        read_pt2(file, shapes={"x": [1]})


def test_options_that_a_program_fixes(file: Path) -> None:
    with pytest.raises(InputError, match="sequence: expected none, since an exported program"):
        sw.read(file, sequence=5)


def test_damaged_file(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"tied.pt2: expected a program that torch .* can load"):
        sw.read(file)  # through the process, which hands the message on
