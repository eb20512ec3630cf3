# SPDX-License-Identifier: Apache-2.0
"""The package as a whole: its version, its files, its start."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stagewright
from stagewright import _native

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for folder in ("src", "native", "tests", "tools", "benchmarks", "examples")
    for suffix in ("py", "cpp", "h", "hpp")
    for path in (ROOT / folder).rglob(f"*.{suffix}")
)
HEAVY = {"highspy", "numpy", "onnx", "onnx_ir", "onnxruntime", "torch"}


def heavy_modules_after(program: str) -> set[str]:
    """Run a program in a fresh interpreter and return the heavy modules it loaded."""
    program += "\nimport sys; print('loaded', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.rpartition("loaded")[2].split())


def test_version_is_one() -> None:
    assert stagewright.__version__ == _native.version()
    assert stagewright.__version__ == importlib.metadata.version("stagewright")


def test_types_are_announced() -> None:
    assert (ROOT / "src" / "stagewright" / "py.typed").is_file()


def test_stub_and_native_module_agree() -> None:
    stub = ast.parse((Path(_native.__file__).parent / "_native.pyi").read_text(encoding="utf-8"))
    named = {node.name for node in stub.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    public = {
        name
        for name, value in vars(_native).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, type))
    }
    assert named == public


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_source_names_its_license(path: Path) -> None:
    first_lines = path.read_text(encoding="utf-8").splitlines()[:2]
    assert any("SPDX-License-Identifier: Apache-2.0" in line for line in first_lines)


def test_only_the_bindings_know_python() -> None:
    knowing = {
        path.parent.name
        for path in SOURCES
        if path.is_relative_to(ROOT / "native")
        and re.search(r"#\s*include\s*[<\"](Python\.h|nanobind/)", path.read_text("utf-8"))
    }
    assert knowing == {"bindings"}


def test_import_loads_nothing_heavy() -> None:
    assert heavy_modules_after("import stagewright") == set()


@pytest.mark.skipif(
    importlib.util.find_spec("stagewright.cli") is None, reason="there is no command line yet"
)
def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['stagewright', '--help']\n"
        "from stagewright.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code"
    )
    assert heavy_modules_after(program) == set()
