# SPDX-License-Identifier: Apache-2.0
"""Reading onnxruntime's trace: kernel times of the top-level nodes, run by run."""

from __future__ import annotations

import bisect
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from onnx import TensorProto

from ..errors import RunError
from ..units import TIME_UNITS
from .node_times import Kernel, TracedRun

__all__ = ["Kernel", "Shapes", "TracedRun", "kernels_of", "read_shapes", "read_trace"]

Shapes = dict[Kernel, list[tuple[int, tuple[int, ...]]]]
"""ONNX element type number and shape of each output that a node made."""

_KERNEL: Final = "_kernel_time"
_PS_PER_US: Final = TIME_UNITS["us"]
_T = TypeVar("_T")
_ELEMENTS: Final = {name.lower(): number for name, number in TensorProto.DataType.items()}
"""Element types as the runtime writes them."""


def kernels_of(nodes: Iterable[tuple[str, str]]) -> list[Kernel]:
    """Return the keys of nodes, given as name and operator in the order in which they run."""
    seen: Counter[tuple[str, str]] = Counter()
    keys = []
    for name, op in nodes:
        keys.append((name, op, seen[name, op]))
        seen[name, op] += 1
    return keys


def read_trace(path: Path, *, runs: int) -> list[TracedRun]:
    """Return the last `runs` runs of a trace.

    Nodes inside the bodies of control flow run within the time of their outer node and are left
    to it.

    Raises
    ------
    RunError
        If the trace is damaged or holds fewer runs (the runtime stops tracing after a million
        events).
    """
    found = _guarded(
        lambda: [
            TracedRun(int(session["dur"]) * _PS_PER_US, _times(kernels))
            for session, kernels in _runs_of(path)
        ]
    )
    complete = max((len(run.kernels) for run in found), default=0)
    found = [run for run in found if len(run.kernels) == complete]
    if len(found) < runs or not complete:
        raise RunError(
            f"The trace of onnxruntime holds {len(found)} complete runs, {runs} were made. "
            "Use fewer repetitions: it stops after a million kernels."
        )
    return found[-runs:]


def read_shapes(path: Path) -> Shapes:
    """Return the shapes of what each kernel made in the last run of a trace.

    Raises
    ------
    RunError
        If the trace is damaged or holds no run.
    """
    shapes = _guarded(lambda: [_shapes(kernels) for _, kernels in _runs_of(path)])
    if not shapes:
        raise RunError("The trace of onnxruntime holds no run.")
    return shapes[-1]


def _guarded(action: Callable[[], _T]) -> _T:
    try:
        return action()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"The trace of onnxruntime cannot be read: {error!r}") from None


def _runs_of(path: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return the event of each run with those of its top-level kernels."""
    events = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    sessions = sorted((e for e in events if e.get("name") == "model_run"), key=_start)
    kernels = sorted(
        (e for e in events if e.get("cat") == "Node" and e["name"].endswith(_KERNEL)),
        key=lambda e: (_start(e), -int(e["dur"])),
    )
    return list(zip(sessions, _per_run(sessions, kernels), strict=True))


def _start(event: dict[str, Any]) -> int:
    return int(event["ts"])


def _per_run(
    sessions: list[dict[str, Any]], kernels: list[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    starts = [_start(session) for session in sessions]
    found: list[list[dict[str, Any]]] = [[] for _ in sessions]
    end = -1
    for event in kernels:
        run = bisect.bisect_right(starts, _start(event)) - 1
        if run < 0 or _start(event) < end:
            continue  # before the first run, or inside the node before
        end = _start(event) + int(event["dur"])
        found[run].append(event)
    return found


def _keys(events: list[dict[str, Any]]) -> list[Kernel]:
    return kernels_of((_name(event), str(event["args"]["op_name"])) for event in events)


def _times(events: list[dict[str, Any]]) -> dict[Kernel, int]:
    return {
        key: int(event["dur"]) * _PS_PER_US
        for key, event in zip(_keys(events), events, strict=True)
    }


def _shapes(events: list[dict[str, Any]]) -> Shapes:
    return {
        key: [
            (_ELEMENTS[name], tuple(shape))
            for tensor in event["args"]["output_type_shape"]
            for name, shape in tensor.items()
            if name in _ELEMENTS
        ]
        for key, event in zip(_keys(events), events, strict=True)
    }


def _name(event: dict[str, Any]) -> str:
    """Return the name of an event's node; the trace makes one up for a node without."""
    name = str(event["name"]).removesuffix(_KERNEL)
    made_up = f"{event['args']['op_name']}_{event['args'].get('node_index')}"
    return "" if name == made_up else name
