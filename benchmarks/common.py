# SPDX-License-Identifier: Apache-2.0
"""What every benchmark prints around its table: command, date, versions, machine."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import stagewright
from stagewright.benching.results import processor_name

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
    print(f"{processor_name()}, {os.cpu_count()} cores, load before the run {load}.\n")


@dataclass
class Tally:
    """What a table of (upper, lower, seconds) says in one line."""

    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    proven: int = 0

    def add(self, upper: int, lower: int, seconds: float) -> None:
        """Count one case."""
        self.seconds.append(seconds)
        self.ratios.append(lower / upper if upper else 1.0)
        self.proven += upper == lower

    def __str__(self) -> str:
        count = len(self.seconds)
        if not count:
            return "no cases"
        fast = sum(t < 0.1 for t in self.seconds)
        mean = geometric_mean(self.ratios) if min(self.ratios) > 0 else 0.0
        return (
            f"{self.proven} of {count} proven optimal, {fast} of {count} in under 0.1 s; longest "
            f"{max(self.seconds):.2f} s; geometric mean of lower/upper {mean:.4f}, "
            f"least {min(self.ratios):.4f}."
        )


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
