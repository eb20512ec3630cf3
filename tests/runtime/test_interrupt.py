# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C during `stagewright run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from tests.runtime.helpers import FOREVER, SKIP, SLOW, still_run
from tests.splitting.helpers import split

from stagewright.runtime.draining import Draining


@contextmanager
def running(
    tmp_path: Path, folder: Path, *more: str
) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """Start `stagewright run` in a session of its own; wait until items go through; yield it and its workers."""
    command = [sys.executable, "-c", _RUN, str(folder), "--items", "100000000", *more]
    mark = tmp_path / "started"
    with subprocess.Popen(
        command,
        env={**os.environ, "MARK": str(mark)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as run:
        deadline = time.monotonic() + 30
        while not mark.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        workers = _children(run.pid)
        assert len(workers) == 3
        yield run, workers
        if run.poll() is None:
            run.kill()
    assert still_run(workers, 5) == []


# The command, which leaves a mark when it has measured some items.
_RUN = """
import os, sys, pathlib
from stagewright.cli import main
from stagewright.runtime import pipeline
seen = 0
outputs = pipeline.Pipeline._outputs
def counted(self, values):
    global seen
    seen += 1
    if seen == 100:
        pathlib.Path(os.environ["MARK"]).touch()
    return outputs(self, values)
pipeline.Pipeline._outputs = counted
sys.exit(main(["run", *sys.argv[1:]]))
"""


def test_ctrl_c_lets_out_what_is_inside_and_reports_it(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    trace = tmp_path / "trace.json"
    with running(tmp_path, folder, "--json", "--trace", str(trace)) as (run, _):
        os.killpg(run.pid, signal.SIGINT)
        output, errors = run.communicate(timeout=20)
    assert run.returncode == 130
    report = json.loads(output)
    assert report["interrupted"] is True
    assert 90 <= report["items"] < 100000000
    assert report["period"] > 0
    assert report["outputs_equal"] is True
    assert b"Ctrl-C again ends at once" in errors
    assert b"interrupted; %d items of 100000000 were done" % report["items"] in errors
    assert b"Traceback" not in errors
    assert json.loads(trace.read_text())["traceEvents"]


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    _, folder, _ = split(SKIP, tmp_path, ["a"], ["b", "c"], ["d"])
    with running(tmp_path, folder) as (run, workers):
        os.kill(workers[1], signal.SIGSTOP)  # what is inside never comes out
        os.killpg(run.pid, signal.SIGINT)
        assert run.stderr is not None
        lines = iter(run.stderr.readline, b"")
        assert any(b"Ctrl-C again" in line for line in islice(lines, 20))
        time.sleep(0.3)
        assert run.poll() is None
        os.killpg(run.pid, signal.SIGINT)
        output, errors = run.communicate(timeout=20)
    assert run.returncode == 130
    assert output == b""
    assert b"stagewright: interrupted" in errors
    assert b"Traceback" not in errors


def test_only_the_main_thread_hears_ctrl_c_and_what_was_there_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    told: list[int] = []
    with Draining(lambda: told.append(1)) as draining:
        assert list(draining.until(range(3))) == [0, 1, 2]
        os.kill(os.getpid(), signal.SIGINT)
        assert (draining.asked, told) == (True, [1])
        assert list(draining.until(range(3))) == []
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with ThreadPoolExecutor() as pool, Draining(None):
        assert signal.getsignal(signal.SIGINT) is before
        pool.submit(_entered).result()
    assert signal.getsignal(signal.SIGINT) is before


def _entered() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Draining(lambda: None):
        assert signal.getsignal(signal.SIGINT) is before


def test_workers_do_not_outlive_the_caller_whatever_they_compute(tmp_path: Path) -> None:
    _, folder, _ = split(SLOW, tmp_path, ["a"], ["b"], ["d"])
    program = (
        "import os, numpy as np; from stagewright.runtime import Pipeline\n"
        f"p = Pipeline({str(folder)!r}, restart=1)\n"
        f"p.submit({{'times': np.array({FOREVER}), 'x': np.zeros((1, 3), np.float32)}})\n"
        "while p._engine.times[1].counts[0] == 0: pass\n"
        "print(*p._engine.processes, p._engine._spare.process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as caller:
        output, _ = caller.communicate(timeout=30)
    workers = [int(pid) for pid in output.split()]
    assert len(workers) == 4
    assert still_run(workers, 5) == []


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []
