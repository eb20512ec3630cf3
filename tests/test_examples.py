# SPDX-License-Identifier: Apache-2.0
"""The examples run, and say what they are there to say; the notebook's outputs are those of today's code."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import notebooks

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# What each needs beyond the package, and lines that it must print.
SCRIPTS = {
    "first_plan.py": ((), ("gap 0.0: optimal", "checked: valid", "wrote page.html plan.json")),
    "own_graph.py": ((), ("60 frames/s take 5 devices; proven to be the fewest: True",)),
    "constraints.py": ((), ("layers 3 and 4 joined", "at most 420 MB: no plan of 4 stages")),
    "config_to_vllm.py": (("torch", "transformers"), ("VLLM_PP_LAYER_PARTITION=",)),
    "run_pipeline.py": (
        ("onnxruntime",),
        ("results in order: True", "equal to the unsplit model's: True"),
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name: str, tmp_path: Path) -> None:
    needed, expected = SCRIPTS[name]
    for package in needed:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for line in expected:
        assert line in done.stdout, f"{line!r} is not in:\n{done.stdout}"
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing behind"


def test_every_example_is_listed_and_short() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".ipynb"):
            assert f"({path.name})" in listed, path.name
    assert {*SCRIPTS, "demo.py"} == {path.name for path in EXAMPLES.glob("*.py")}
    for name in SCRIPTS:
        assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= 90, name


def shown(notebook: dict[str, Any]) -> list[str]:
    """Return the texts below each cell of code."""
    texts = []
    for _, cell in notebooks.code_cells(notebook):
        for output in cell["outputs"]:
            lines = output["text"] if "text" in output else output["data"]["text/plain"]
            texts.append("".join(lines))
    return texts


def test_notebook() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    path = EXAMPLES / "explore.ipynb"
    text = path.read_text(encoding="utf-8")
    assert len(text) < 60_000
    notebook = json.loads(text)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    kept = shown(notebook)
    notebooks.run(notebook, path.name)
    assert "fewer cannot do (proven: True)" in "".join(kept)
    assert masked(shown(notebook)) == masked(kept), "run: python tools/notebooks.py " + str(path)


def masked(texts: list[str]) -> list[set[str]]:
    """Return the lines of each text without numbers and spaces: there may be several best plans."""
    return [{re.sub(r"[\d.\s]+", " ", line) for line in text.splitlines()} for text in texts]


def test_a_failing_cell_is_named() -> None:
    cell = {"cell_type": "code", "source": ["x = 1\n", "x + y"], "outputs": []}
    with pytest.raises(NameError) as caught:
        notebooks.run({"cells": [cell]}, "bad.ipynb")
    assert any("bad.ipynb, cell 1" in str(entry.path) for entry in caught.traceback)
