# SPDX-License-Identifier: Apache-2.0
"""The benchmarks as commands, each on next to nothing: they end well and print whole tables."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.common import INSTANCES

SMALL = {
    "ladder": "--count 2 --sample 1 --stages 2 8 --methods simple anchor bottleneck solve --time-limit 0.5 --plan-seconds 0.3",
    "peers": "--sets light --stages 64 --seconds 1 --methods METIS,~repaired equal~work --rows",
    "scale": "--families transformer --nodes 100,200 --time-limit 5",
    "limits": "--only squeezenet,layered-80 --same-seconds 1 --memory-seconds 2 --parts threads memory",
    "integrality": "--sets light --only zfnet512 --time-limit 1",
    "profiles": "--only gnmt --time-limit 5 --stages 4",
    "costs": "--models encoder --seconds 0.001 --repetitions 2 --calibration cpu-core",
    "peak": "--models squeezenet",
    "instances": "",
    "hops": "--smallest 10 --largest 16 --seconds 0.001",
    "pipeline": "--models squeezenet --items 24 --rounds 1",
    "tuning": "--models squeezenet --stages 2 --items 16 --rounds 2 --costs cpu-core",
    "robust": "--only zfnet --stages 4 --samples 4",
    "search": "--synthetic 80 --stages 4 --seconds 0.1 --nodes 80 --parts time speed",
    "wide": "--instances layered-n50 --k 16 --seconds 1",
    "training": "--width 256 --rows 64 --blocks 3 --steps 1 --runs 1 --only gnmt --time-limit 1 --exhaustive 0.01",
    "wide_bound": "--only layered-n50 --stages 16 --seconds 1",
}


@pytest.mark.parametrize("name", SMALL)
def test_command_prints_whole_tables(name: str, tmp_path: Path) -> None:
    if name in ("instances", "profiles", "wide", "wide_bound") and not INSTANCES.exists():
        pytest.skip(f"no instances at {INSTANCES}")
    if name == "peak":
        pytest.importorskip("onnxruntime")
        if not shutil.which("c++"):
            pytest.skip("counting bytes needs a compiler")
    if name == "training":
        pytest.importorskip("torch")
        if not Path("/proc/self/clear_refs").exists():
            pytest.skip("memory is measured by /proc")
    if name in ("pipeline", "tuning"):
        pytest.importorskip("onnxruntime")
    if name in ("ladder", "integrality"):
        pytest.importorskip("highspy")
    arguments = [word.replace("~", " ") for word in SMALL[name].split()]
    if name in ("ladder", "peers"):
        arguments += ["--records", str(tmp_path / "records.jsonl")]
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("|") for line in lines) >= 3
    # Every row has as many cells as its head.
    for above, below in itertools.pairwise(lines):
        if above.startswith("|") and below.startswith("|"):
            assert above.count(" |") == below.count(" |")
    assert "FAULT" not in done.stdout
