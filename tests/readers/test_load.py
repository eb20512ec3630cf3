# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from onnx import helper

from stagewright.errors import InputError
from stagewright.graph import GraphBuilder
from stagewright.readers import READABLE, load
from stagewright.readers.graph_file import write_graph_file

from .models import info, make_model, save


def graph_file(folder: Path, name: str) -> Path:
    builder = GraphBuilder("g")
    builder.add_node("a", work=1)
    write_graph_file(builder.build(), folder / name)
    return folder / name


def test_the_content_decides(tmp_path: Path) -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"], "r")], [info("x", [2])])
    onnx_file = save(model, tmp_path)
    shutil.copy(onnx_file, tmp_path / "model")
    for name in ("g.json", "g.json.gz"):
        shutil.copy(graph_file(tmp_path, name), tmp_path / "copy")
        assert load(tmp_path / "copy").node_names == ("a",)
    assert load(tmp_path / "model").node_names == ("r",)
    assert load(str(onnx_file)).node_names == ("r",)


def test_shapes_are_passed_on(tmp_path: Path) -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"], "r")], [info("x", ["n", 4])])
    path = save(model, tmp_path)
    assert load(path, dims={"n": 3}).flops.tolist() == [12]
    assert load(path, shapes={"x": (5, 4)}).flops.tolist() == [20]


def test_a_graph_file_has_no_shapes(tmp_path: Path) -> None:
    path = graph_file(tmp_path, "g.json")
    with pytest.raises(InputError) as caught:
        load(path, dims={"n": 3})
    assert str(caught.value) == (
        f"{path}: dims: expected none, since a graph file is read as it is, got {{'n': 3}}"
    )


@pytest.mark.parametrize(
    ("make", "got"), [(None, "no such file"), ("mkdir", "a folder without a config.json")]
)
def test_what_is_no_file(tmp_path: Path, make: str | None, got: str) -> None:
    path = tmp_path / "model.onnx"
    if make:
        path.mkdir()
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: expected {READABLE}, got {got}"
