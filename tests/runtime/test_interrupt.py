# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C during `stagewright run`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.runtime.helpers import FOREVER, SKIP, SLOW, still_run
from tests.splitting.helpers import split


def test_a_run_that_is_interrupted_ends_with_all_its_workers(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    command = [sys.executable, "-m", "stagewright", "run", str(folder), "--items", "100000000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as run:
        deadline = time.monotonic() + 30
        while len(workers := _children(run.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(workers) == 3
        time.sleep(0.5)
        os.killpg(run.pid, signal.SIGINT)
        output, errors = run.communicate(timeout=20)
    assert run.returncode == 130
    assert output == b""
    assert b"Traceback" not in errors
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_workers_do_not_outlive_the_caller_whatever_they_compute(tmp_path: Path) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    program = (
        "import os, numpy as np; from stagewright.runtime import Pipeline\n"
        f"p = Pipeline({str(folder)!r})\n"
        f"p.submit({{'times': np.array({FOREVER}), 'x': np.zeros((1, 3), np.float32)}})\n"
        "while p._engine.times[1].counts[0] == 0: pass\n"
        "print(*p._engine.processes, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as caller:
        output, _ = caller.communicate(timeout=30)
    workers = [int(pid) for pid in output.split()]
    assert len(workers) == 3
    assert still_run(workers, 5) == []


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []
