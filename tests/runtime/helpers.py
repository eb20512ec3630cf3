# SPDX-License-Identifier: Apache-2.0
"""Tiny models to run as pipelines, and a watch over what they leave behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagewright.runtime import Pipeline

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
SKIP = f"""{HEAD} skip (float[1, 3] x, float[1, 3] z) => (float[1, 3] y, float[1, 3] p) {{
    [a] p = Relu(x)
    [b] q = Exp(p)
    [c] r = Add(q, z)
    [d] y = Add(p, r)
}}"""
ENGINES = ["process", "thread"]


def inside(pipeline: Pipeline) -> Any:
    """Return the engine, whose private parts these tests break on purpose."""
    return pipeline._engine


def item(i: int) -> dict[str, Any]:
    return {
        "x": np.array([[i, -i, i / 7]], np.float32),
        "z": np.array([[1, 2, i]], np.float32),
    }


def children() -> set[int]:
    """Running child processes of this one."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in text.split()}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves processes, shared memory, threads or descriptors."""
    if not Path("/proc/self/fd").is_dir():
        yield
        return
    before = children(), len(list(Path("/proc/self/fd").iterdir()))
    threads = threading.active_count()
    yield
    deadline = time.monotonic() + 2
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    gc.collect()
    assert children() == before[0]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before[1]
    assert "memfd:stagewright" not in Path("/proc/self/maps").read_text()


FAULTY = f"""{HEAD} faulty (float[3] x, int64[1] i) => (float[1] y) {{
    [a] p = Relu(x)
    [b] q = Gather(p, i)
    [c] y = Exp(q)
}}"""
# Runs a loop as often as it is told: as long as a test wants, in operators that can be interrupted.
SLOW = f"""{HEAD} slow (int64 times, float[1, 3] x) => (float[1, 3] y) {{
    [a] p = Relu(x)
    [t] c = Constant<value = bool {{1}}>()
    [b] q = Loop(times, c, p) <body = body (int64 i, bool go, float[1, 3] v) =>
        (bool going, float[1, 3] w) {{ going = Identity(go) w = Abs(v) }}>
    [d] y = Neg(q)
}}"""
FOREVER = 1 << 60


def slow(times: int, i: int = 0) -> dict[str, Any]:
    return {"times": np.array(times), "x": np.full((1, 3), i, np.float32)}


def still_run(workers: list[int], seconds: float) -> list[int]:
    """Return which processes still run after at most so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in workers if runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
