# SPDX-License-Identifier: Apache-2.0
"""Stagewright cuts neural networks into pipeline stages, proves the cut, and runs it.

>>> import stagewright as sw
>>> graph = sw.read("model.onnx", device="h100-sxm")  # doctest: +SKIP
>>> result = sw.plan(graph, stages=4, bandwidth="25GB/s")  # doctest: +SKIP
>>> result.status, result.gap  # doctest: +SKIP
('optimal', 0.0)

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import Result, check, plan, profile, read, run, split
    from .errors import StagewrightError
    from .graph import CostGraph, GraphBuilder
    from .judging import robust
    from .machine import Machine
    from .placing import place
    from .plans import Plan
    from .runtime import Pipeline
    from .shipping import export, to_torch
    from .sweeps import sweep
    from .tuning import tune

__all__ = [
    "CostGraph",
    "GraphBuilder",
    "Machine",
    "Pipeline",
    "Plan",
    "Result",
    "StagewrightError",
    "__version__",
    "check",
    "export",
    "place",
    "plan",
    "profile",
    "read",
    "robust",
    "run",
    "split",
    "sweep",
    "to_torch",
    "tune",
]

_HOMES = {
    "Result": "api",
    "check": "api",
    "plan": "api",
    "profile": "api",
    "read": "api",
    "export": "shipping",
    "place": "placing",
    "robust": "judging",
    "run": "api",
    "split": "api",
    "sweep": "sweeps",
    "to_torch": "shipping",
    "tune": "tuning",
    "CostGraph": "graph",
    "GraphBuilder": "graph",
    "Machine": "machine",
    "Pipeline": "runtime",
    "Plan": "plans",
    "StagewrightError": "errors",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'stagewright' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
