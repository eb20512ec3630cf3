# SPDX-License-Identifier: Apache-2.0
"""What a measurement depends on besides the program: processor, caches, pinning, other programs."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..cores import usable_cores
from ..errors import InputError

__all__ = [
    "OtherLoad",
    "available_memory",
    "cache_bytes",
    "cache_sizes",
    "cpu_name",
    "gpu_name",
    "pinned",
    "pinning",
]

_DEFAULT_CACHE: Final = 32 * 2**20
_GROUP: Final = Path("/sys/fs/cgroup")
_CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def gpu_name() -> str:
    """Return the name of the first GPU as its driver tells it.

    Raises
    ------
    InputError
        If there is no driver that tells.
    """
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError("provider 'cuda'", "a GPU that nvidia-smi lists", str(error)) from None
    names = done.stdout.strip().splitlines()
    if not names:
        raise InputError("provider 'cuda'", "a GPU that nvidia-smi lists", "none")
    return names[0].strip()


def available_memory() -> int | None:
    """Return the bytes that this process can still take, None where the system does not tell."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) << 10)
    except (OSError, ValueError, IndexError):
        pass
    try:
        most, used = (
            int((_GROUP / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
        found.append(max(0, most - used))
    except (OSError, ValueError):
        pass  # no limit, or none that is visible from here
    return min(found, default=None)


def cache_bytes() -> int:
    """Return the bytes of the largest cache, 32 MiB where the system does not tell."""
    return cache_sizes()[-1]


def cache_sizes() -> list[int]:
    """Return the bytes of the data caches that one core sees, ascending; never empty."""
    sizes = set()
    for path in _CACHES.glob("index*/size"):
        try:
            text = path.read_text(encoding="ascii").strip()
            kind = (path.parent / "type").read_text(encoding="ascii").strip()
            if kind != "Instruction":
                sizes.add(int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1:], 0))
        except (OSError, ValueError):
            continue
    return sorted(sizes) or [_DEFAULT_CACHE]


def pinning() -> str:
    """Return the cores this process may use, such as ``0-3``, or ``free`` when it may use all."""
    if not hasattr(os, "sched_getaffinity"):
        return "free"
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == os.cpu_count():
        return "free"
    return ",".join(map(str, cores))


@contextmanager
def pinned(cores: str | None) -> Iterator[None]:
    """Hold this process (and the threads it starts) to some cores, given as ``0,2`` or ``0-3``.

    Raises
    ------
    InputError
        If the text names no cores, or cores that this process may not use.
    """
    if cores is None:
        yield
        return
    wanted = _core_set(cores)
    if not hasattr(os, "sched_setaffinity"):
        raise InputError("pin", "a system that can pin processes (Linux)", platform.system())
    before = os.sched_getaffinity(0)
    if not wanted <= before:
        raise InputError("pin", f"cores out of {sorted(before)}", repr(cores))
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _core_set(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise InputError("pin", "cores such as '0,2' or '0-3'", repr(text))
        found.update(range(int(first), int(last or first) + 1))
    return found


def _system_busy() -> float:
    """Return the seconds that all cores were busy since the system started, 0 if unknown."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as file:
            fields = [int(text) for text in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@dataclass
class OtherLoad:
    """Cores that other programs kept busy since this object was made.

    The system's busy time less this process's own.  0 where the system does not tell.
    """

    begun: float = field(default_factory=time.perf_counter)
    busy: float = field(default_factory=_system_busy)
    own: float = field(default_factory=time.process_time)

    def cores(self) -> float:
        """Return the mean number of cores busy with other programs."""
        elapsed = time.perf_counter() - self.begun
        if elapsed < 0.05 or not self.busy:
            return 0.0  # the system counts in hundredths of a second
        others = (_system_busy() - self.busy) - (time.process_time() - self.own)
        return min(max(0.0, others / elapsed), float(os.cpu_count() or usable_cores()))
