# SPDX-License-Identifier: Apache-2.0
"""What every benchmark prints around its table: command, date, versions, machine."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import stagewright

INSTANCES = Path(__file__).resolve().parents[2] / "shared" / "instances"


def header(title: str) -> None:
    """Print the title and what the numbers depend on."""
    print(f"\n### {title}\n")
    spec = sys.modules["__main__"].__spec__
    command = " ".join(["python -m", spec.name if spec else sys.argv[0], *sys.argv[1:]])
    versions = [f"stagewright {stagewright.__version__}", f"Python {platform.python_version()}"]
    for name in ("onnx", "onnxruntime", "highspy", "ortools", "pymetis"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    print(f"`{command}`, {dt.date.today()}; {', '.join(versions)};")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{cpu_name()}, {os.cpu_count()} cores, load before the run {load}.\n")


def peak_mib() -> float:
    """Return the most memory that this process has held, MiB."""
    import resource

    try:
        # What getrusage() says counts what the parent held before it started this process.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except OSError:
        pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def table(columns: Sequence[str]) -> None:
    """Print the head of a Markdown table; rows follow with :func:`row`."""
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns), flush=True)


def geometric_mean(values: Sequence[float]) -> float:
    """Return exp of the mean logarithm."""
    return math.exp(sum(map(math.log, values)) / len(values))


def row(cells: Iterable[object]) -> None:
    """Print one row at once, so that a long run shows how far it is."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
