# SPDX-License-Identifier: Apache-2.0
"""The one place where onnxruntime sessions get their options.

A measured cost holds for the options it was measured with, so the profiler and the pipeline's
stages both take them from here.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from ..errors import InputError, MissingDependencyError

__all__ = ["LEVELS", "PROVIDERS", "onnxruntime", "providers_for", "session_options"]

LEVELS: Final = {
    "all": "ORT_ENABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
"""Optimisation levels of the runtime by our name for them; ``all`` is what stages run with."""

PROVIDERS: Final = ["CPUExecutionProvider"]

_PROVIDER_NAMES: Final = {"cpu": PROVIDERS, "cuda": ["CUDAExecutionProvider", *PROVIDERS]}


def onnxruntime(purpose: str) -> Any:
    """Import and return onnxruntime.

    Raises
    ------
    MissingDependencyError
        If it is not installed; `purpose` begins the message.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError:
        raise MissingDependencyError("onnxruntime", "run", purpose) from None


def providers_for(name: str, purpose: str) -> list[str]:
    """Return the runtime's providers for ``cpu`` or ``cuda``.

    Raises
    ------
    InputError
        If the installed runtime cannot run there; it would silently fall back to the processor.
    """
    if name not in _PROVIDER_NAMES:
        raise InputError("provider", f"one of {', '.join(_PROVIDER_NAMES)}", repr(name))
    wanted = _PROVIDER_NAMES[name]
    available = onnxruntime(purpose).get_available_providers()
    if wanted[0] not in available:
        raise InputError(
            f"provider '{name}'",
            f"an onnxruntime with {wanted[0]}",
            f"one with {', '.join(available)}",
            "Install onnxruntime-gpu in place of onnxruntime, with the CUDA that it asks for.",
        )
    return wanted


def session_options(threads: int = 1, level: str = "all", profile_dir: Path | None = None) -> Any:
    """Return ``onnxruntime.SessionOptions`` for a stage or a profile.

    Operators run one after the other.  Idle threads sleep instead of spinning: stages share a
    machine, and a stage that waits must not take the cores of one that works.

    Parameters
    ----------
    threads
        Threads inside an operator.
    level
        ``all``, ``basic`` or ``disabled``.
    profile_dir
        Folder for a trace of every kernel; None for no trace.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise InputError("threads", "a whole number from 1 to 1024", repr(threads))
    if level not in LEVELS:
        raise InputError("level", f"one of {', '.join(LEVELS)}", repr(level))
    ort = onnxruntime("Running a model")
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
    options.log_severity_level = 3  # errors only: warnings would go to the user's stderr
    if profile_dir is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_dir / "trace")
    return options
