# SPDX-License-Identifier: Apache-2.0
"""Imports go one way: a module imports only from layers left of its own.

A layer is the first path component below the package, a file or a folder, without leading
underscores. A new layer has to be given its place in LAYERS.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "stagewright"
LAYERS = [
    "errors",
    "cores",
    "effort",
    "rounds",
    "files",
    "allocation",
    "raylink",
    "units",
    "timeline",
    "topology",
    "display",
    "graph",
    "machine",
    "graph_io",
    "plans",
    "hard_limit",
    "classes",
    "readers",
    "writers",
    "cost",
    "shaping",
    "problem",
    "reduce",
    "search",
    "exact",
    "bound",
    "certificate",
    "settings",
    "portfolio",
    "standing",
    "solve",
    "reserved",
    "what_if",
    "sweeping",
    "ladder",
    "placement",
    "robustness",
    "splitting",
    "runtime",
    "exporting",
    "simulation",
    "reports",
    "source",
    "starting",
    "reading",
    "asking",
    "frames",
    "reporting",
    "api",
    "judging",
    "sweeps",
    "placing",
    "shipping",
    "tuning",
    "benching",
    "cli",
]
# The native core is for what is hot; everything else reaches it through these layers.
NATIVE_USERS = {
    "effort",
    "rounds",
    "problem",
    "search",
    "exact",
    "bound",
    "portfolio",
    "placement",
}
# The package's front door hands out names of every layer, and __main__ starts the last one.
ABOVE_ALL = {"__init__.py", "__main__.py"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(component: str) -> str:
    return component.removesuffix(".py").lstrip("_")


def imported_names(tree: ast.AST, module: tuple[str, ...], *, is_package: bool) -> list[str]:
    """Return every imported dotted name, relative ones made absolute, wherever it stands.

    `from x import y` yields `x.y`, for y may be a module.
    """
    package = module if is_package else module[:-1]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += [node.module] if node.module else []
            found += [".".join([*base, alias.name]) for alias in node.names]
    return found


def faults_of(path: Path, source: str) -> list[str]:
    """Return what the file at `path` (relative to the package) imports but must not."""
    parts = path.parts
    if path.as_posix() in ABOVE_ALL:
        return []
    own = layer_of(parts[0])
    if own not in LAYERS:
        return [f"{path}: the layer '{own}' has no place in LAYERS"]
    is_package = path.name == "__init__.py"
    module = ("stagewright", *parts[:-1], *([] if is_package else [path.stem]))
    names = imported_names(ast.parse(source), module, is_package=is_package)
    faults = []
    for name in names:
        top, *rest = name.split(".")
        if top != "stagewright" or rest == ["__version__"]:
            continue
        fault = fault_of_edge(own, rest[0] if rest else "")
        if fault:
            faults.append(f"{path}: imports {name}: {fault}")
    if path.as_posix() == "certificate/check.py":
        faults += [
            f"{path}: imports {name}: the checker uses the standard library only"
            for name in names
            if name.partition(".")[0] not in sys.stdlib_module_names
        ]
    return faults


def fault_of_edge(own: str, component: str) -> str | None:
    """Return what is wrong with layer `own` importing stagewright.`component`."""
    target = layer_of(component)
    if component == "_native":
        allowed = own in NATIVE_USERS
        return None if allowed else f"_native is for {', '.join(sorted(NATIVE_USERS))}"
    if target not in LAYERS:
        return "not a layer; inside the package, import from the module that defines the name"
    if LAYERS.index(target) > LAYERS.index(own):
        return f"'{target}' comes after '{own}'"
    return None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_imports_only_from_its_left(path: Path) -> None:
    assert faults_of(path.relative_to(PACKAGE), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("graph.py", "from .cli import main", "'cli' comes after 'graph'"),
        ("graph.py", "def f():\n    from . import solve", "'solve' comes after 'graph'"),
        ("graph.py", "import stagewright.solve", "'solve' comes after 'graph'"),
        ("graph.py", "import stagewright", "not a layer"),
        ("graph.py", "from . import CostGraph", "not a layer"),
        ("cost/roofline.py", "from ..search.orders import x", "'search' comes after 'cost'"),
        ("cost/__init__.py", "from ..search import x", "'search' comes after 'cost'"),
        ("cost/roofline.py", "from .. import _native", "_native is for"),
        ("cli.py", "from ._native import version", "_native is for"),
        ("novelty/x.py", "", "the layer 'novelty' has no place in LAYERS"),
        ("certificate/check.py", "import numpy", "standard library only"),
        ("certificate/check.py", "from .. import errors", "standard library only"),
        ("certificate/check.py", "from .build import x", "standard library only"),
    ],
)
def test_backward_edge_is_found(path: str, source: str, fault: str) -> None:
    (found,) = faults_of(Path(path), source)
    assert fault in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("plans.py", "from .graph import CostGraph\nimport numpy"),
        ("search/orders.py", "from .. import _native\nfrom .slicing import cut"),
        ("search/__init__.py", "from .orders import kahn\nfrom ..graph import CostGraph"),
        ("cli.py", "from stagewright import __version__\nfrom .solve import solve"),
        ("_api.py", "from .solve import solve"),
        ("certificate/check.py", "import json\nfrom fractions import Fraction"),
        ("__init__.py", "from .cli import main"),
    ],
)
def test_forward_edge_is_allowed(path: str, source: str) -> None:
    assert faults_of(Path(path), source) == []
