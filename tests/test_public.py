# SPDX-License-Identifier: Apache-2.0
"""The public surface: names, laziness, and the stub against the module."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import stagewright as sw
from stagewright import _native, errors


def test_every_public_name_is_there() -> None:
    for name in sw.__all__:
        assert getattr(sw, name) is not None
    assert set(sw.__all__) <= set(dir(sw))


def test_functions_are_not_shadowed_by_modules() -> None:
    import stagewright.certificate.check
    import stagewright.plans
    import stagewright.runtime

    assert stagewright.runtime
    for name in ("read", "plan", "place", "robust", "check", "split", "run", "sweep", "export"):
        assert callable(getattr(sw, name)), name


def test_errors_travel_between_processes() -> None:
    for error in (
        errors.InputError("a", "b", "c", "d"),
        errors.ModelError("a", "b", "c"),
        errors.MissingDependencyError("ray", "ray", "Running"),
        errors.RunError("stage 1 died"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_stub_lists_what_the_module_has() -> None:
    stub = Path(str(_native.__file__)).with_name("_native.pyi")
    tree = ast.parse(stub.read_text())
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assert names == {n for n in dir(_native) if not n.startswith("_")}
