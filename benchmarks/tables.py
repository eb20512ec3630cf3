# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: Markdown rows, means, and a line about the machine."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Sequence

__all__ = ["geometric_mean", "machine_line", "print_header", "print_row"]


def machine_line() -> str:
    """Say what the numbers were measured on, and how busy it was."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load} (1, 5, 15 minutes)"


def print_header(columns: Sequence[str]) -> None:
    print_row(columns)
    print_row(["---"] * len(columns))


def print_row(cells: Iterable[object]) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
