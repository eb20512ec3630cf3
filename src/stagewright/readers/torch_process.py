# SPDX-License-Identifier: Apache-2.0
"""Reading in a process of its own: a limit on its time holds, whatever tracing does with signals."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import (
    GraphError,
    InputError,
    LimitError,
    MissingDependencyError,
    ModelError,
    StagewrightError,
)
from ..graph import CostGraph, GraphBuilder
from . import StagewrightWarning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .settings import ReadSettings

__all__ = ["READ_LIMIT", "from_arrays", "read_in_child", "to_arrays"]

READ_LIMIT: Final = 600.0
"""Seconds that reading may take unless another limit is given."""

_ERRORS: Final = {kind.__name__: kind for kind in (InputError, ModelError, GraphError)}


def read_in_child(
    path: str | Path,
    kind: str,
    settings: ReadSettings,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> CostGraph:
    """Read a ``.pt2`` file or a configuration in a child process.

    Parameters
    ----------
    kind
        ``pt2`` or ``hf``.

    Raises
    ------
    LimitError
        If it takes longer than the limit, or the process dies (of memory, say).
    InputError, MissingDependencyError
        What the reader finds wrong.
    """
    for package, extra in (("torch", "torch"), ("transformers", "hf")):
        if (package == "torch" or kind == "hf") and importlib.util.find_spec(package) is None:
            what = "a PyTorch program" if kind == "pt2" else "a Hugging Face configuration"
            raise MissingDependencyError(package, extra, f"{path}: reading {what}")
    limit = settings.read_limit if settings.read_limit is not None else READ_LIMIT
    if not limit > 0:
        raise InputError("read limit", "seconds > 0", str(limit))
    job = {
        "path": str(path),
        "kind": kind,
        "shapes": {name: list(shape) for name, shape in (shapes or {}).items()},
        "options": settings.model_options(),
        "replicate": settings.replicate,
    }
    answer = _run(json.dumps(job).encode(), str(path), min(limit, 1e7))
    with np.load(io.BytesIO(answer), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    said = json.loads(arrays["said"].tobytes())
    for text in said["warnings"]:
        warnings.warn(StagewrightWarning(text), stacklevel=4)
    if said["error"] is not None:
        raise _error_of(said["error"])
    return from_arrays(arrays)


def _run(job: bytes, path: str, limit: float) -> bytes:
    """Return what the child writes, and never leave it behind."""
    # Imports the package from where this one is, also when that is not installed.
    environment = {**os.environ, "PYTHONPATH": _search_path()}
    command = [sys.executable, "-m", "stagewright.readers._torch_child"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C comes here, and from here to the child
    ) as child:
        try:
            answer, complaints = child.communicate(job, timeout=limit)
        except subprocess.TimeoutExpired:
            raise LimitError(
                f"{path}: reading took longer than {limit:g} s and was given up. "
                "Raise the limit with --read-limit, or read a smaller model."
            ) from None
        finally:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
    if child.returncode or not answer:
        lines = complaints.decode(errors="replace").strip().splitlines()
        last = f": {lines[-1][:300]}" if lines else ""
        killed = child.returncode < 0
        how = f"signal {-child.returncode}" if killed else f"status {child.returncode}"
        raise LimitError(f"{path}: the process that reads it ended with {how}{last}")
    return answer


def _search_path() -> str:
    package = str(Path(__file__).resolve().parents[2])
    given = os.environ.get("PYTHONPATH")
    return f"{package}{os.pathsep}{given}" if given else package


def _error_of(said: dict[str, Any]) -> StagewrightError:
    if said["kind"] in _ERRORS:
        return _ERRORS[said["kind"]](*said["parts"])
    error = LimitError(said["text"]) if said["kind"] == "LimitError" else None
    return error or StagewrightError(said["text"])


def to_arrays(graph: CostGraph) -> dict[str, Any]:
    """Return a graph as arrays, element types included; :func:`from_arrays` inverts it."""
    texts = {
        "name": graph.name,
        "names": graph.node_names,
        "ops": graph.node_ops,
        "dtypes": graph.node_dtypes,
    }
    return {
        "texts": np.frombuffer(json.dumps(texts).encode(), np.uint8),
        "flops": graph.flops,
        "nbytes": graph.nbytes,
        "replicable": graph.replicable,
        "producer": graph.tensor_producer,
        "consumer_offsets": graph.tensor_consumers.offsets,
        "consumers": graph.tensor_consumers.values,
        "tensor_bytes": graph.tensor_bytes,
        "tensor_time": graph.tensor_time,
        "param_bytes": graph.param_bytes,
        "user_offsets": graph.param_users.offsets,
        "users": graph.param_users.values,
        "uncuttable": graph.uncuttable,
    }


def from_arrays(arrays: Mapping[str, Any]) -> CostGraph:
    """Build the graph again."""
    texts = json.loads(arrays["texts"].tobytes())
    builder = GraphBuilder(texts["name"])
    columns = (arrays["flops"].tolist(), arrays["nbytes"].tolist(), arrays["replicable"].tolist())
    for name, op, dtype, flops, nbytes, replicable in zip(
        texts["names"], texts["ops"], texts["dtypes"], *columns, strict=True
    ):
        builder.add_node(
            name, op=op, flops=flops, nbytes=nbytes, dtype=dtype, replicable=replicable
        )
    rows = _rows(arrays["consumer_offsets"], arrays["consumers"])
    sizes = zip(arrays["tensor_bytes"].tolist(), arrays["tensor_time"].tolist(), strict=True)
    for producer, users, (size, time) in zip(arrays["producer"].tolist(), rows, sizes, strict=True):
        if size >= 0:
            builder.add_tensor(producer, users, nbytes=size)
        else:
            builder.add_tensor(producer, users, time=time)
    readers = _rows(arrays["user_offsets"], arrays["users"])
    for size, users in zip(arrays["param_bytes"].tolist(), readers, strict=True):
        builder.add_param(size, users)
    for a, b in arrays["uncuttable"].tolist():
        builder.never_cut(a, b)
    return builder.build()


def _rows(offsets: Any, values: Any) -> list[list[int]]:
    bounds, flat = offsets.tolist(), values.tolist()
    return [flat[a:b] for a, b in pairwise(bounds)]
