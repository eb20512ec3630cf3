# SPDX-License-Identifier: Apache-2.0
"""What a run remembers of each stage and item, and the trace of it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.splitting.helpers import split

from stagewright.cli import main
from stagewright.runtime import RunHistory, measure
from stagewright.runtime.channels import ChannelClosedError
from stagewright.runtime.stage_loop import RECORDS, RECORDS_BYTES, Times, run_stage
from stagewright.runtime.stats import StageTimes
from stagewright.runtime.wiring import Route

DIAMOND = """<ir_version: 8, opset_import: ["" : 17]>
m (float[1, 3] x) => (float[1, 3] y) {
    [a] p = Relu(x)
    [b] q = Exp(p)
    [c] r = Neg(p)
    [d] y = Add(q, r)
}"""
STAGES = ["a"], ["b"], ["c"], ["d"]


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_the_trace_of_a_run(tmp_path: Path, engine: Any) -> None:
    _, folder, _ = split(DIAMOND, tmp_path, *STAGES)
    report = measure(folder, items=40, engine=engine)
    history = report.history
    assert history is not None
    assert history.first == 0
    assert 37 <= history.items <= 40  # the last may have left before its stage had noted it
    assert set(history.hops) == {(0, 1), (0, 2), (1, 3), (2, 3)}
    for rows in history.rows:
        assert (np.diff(rows, axis=1) >= 0).all()
        assert (rows[1:, 0] >= rows[:-1, 4]).all()
    for told, rows in zip(report.stages, history.rows, strict=True):
        assert StageTimes.of(rows) == StageTimes(told.compute, told.wait, told.send, told.blocked)
    # No stage computes before what it reads has been computed.
    for source, target in history.hops:
        assert (history.rows[target][:, 1] >= history.rows[source][:, 2]).all()
    spans = list(history.trace().spans)
    for stage in range(4):
        mine = [span for span in spans if span.stage == stage]
        assert all(a.end <= b.start for a, b in pairwise(mine))
        assert {s.item for s in mine if s.what == "work"} == set(range(history.items))
    history.save_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    arrows = [e for e in events if e["ph"] in "sf"]
    assert len(arrows) == 2 * 4 * history.items
    for start, end in zip(arrows[::2], arrows[1::2], strict=True):
        assert (start["ph"], end["ph"], start["id"]) == ("s", "f", end["id"])
        assert start["ts"] <= end["ts"]


class OneItem:
    """Both ends of a channel that brings one item, and waits for room for five seconds of its own."""

    route = Route(0, 1, (), 1)
    waited = 0.0

    def __init__(self) -> None:
        self.brought = False

    def recv(self) -> list[Any]:
        if self.brought:
            raise ChannelClosedError
        self.brought = True
        return []

    def release(self) -> None: ...

    def room(self) -> dict[str, Any]:
        return {}

    def send(self, values: Any) -> None:
        self.waited += 5.0


def test_waiting_for_room_is_not_sending() -> None:
    times, ends = Times(bytearray(RECORDS_BYTES)), [OneItem(), OneItem()]
    channels: Any = ends
    with pytest.raises(ChannelClosedError):
        run_stage(0, lambda *_: {}, channels[:1], channels, times)
    ((wait, compute, blocked, send),) = np.diff(times.last(), axis=1).tolist()
    assert blocked == pytest.approx(10.0)  # of both senders
    assert send == pytest.approx(-10.0, abs=5)  # the real time less what was made up
    assert min(wait, compute) >= 0
    summed = StageTimes.of(times.last())
    assert (summed.blocked, summed.send, summed.compute) == (blocked, send, compute)


def test_only_what_all_stages_remember(tmp_path: Path) -> None:
    times = [Times(bytearray(RECORDS_BYTES)) for _ in range(2)]
    for number, count in enumerate((RECORDS + 10, RECORDS + 8)):
        for i in range(count):
            times[number].add(i, i + 0.1, i + 0.2, i + 0.3, i + 0.4)
    kept = [(t.count - len(t.last()), t.last()) for t in times]
    assert [first for first, _ in kept] == [10, 8]
    history = RunHistory.of("x", ["a", "b"], [], kept, skipped=5)
    assert (history.first, history.items) == (5, RECORDS - 2)
    assert [rows[0, 0] for rows in history.rows] == [10, 10]
    assert [rows[-1, 0] for rows in history.rows] == [RECORDS + 7] * 2
    first = next(iter(history.trace().spans))
    assert (first.item, first.what, first.start) == (5, "work", 0)
    empty = RunHistory.of("x", ["a"], [], [(0, np.zeros((0, 5)))])
    assert (empty.items, list(empty.trace().spans)) == (0, [])


def test_a_trace_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder, _ = split(DIAMOND, tmp_path, *STAGES)
    run = ["run", str(folder), "--items", "8", "--engine", "thread", "--json", "--trace"]
    assert main([*run, str(tmp_path / "no" / "out.json")]) == 2
    shown = capsys.readouterr()
    assert "expected a file in an existing folder" in shown.err
    assert shown.out == ""  # refused before anything ran
    (tmp_path / "taken.json").mkdir()
    assert main([*run, str(tmp_path / "taken.json")]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["outputs_equal"] is True
    assert "taken.json: expected a writable file, got Is a directory" in shown.err
    assert main([*run, str(tmp_path / "out.json")]) == 0
    assert "written:" in capsys.readouterr().err
    assert json.loads((tmp_path / "out.json").read_text())["traceEvents"]


FULL_DISK = """import resource, sys
from stagewright.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_costs_only_the_trace(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="limits the size of files as a full disk does")
    _, folder, _ = split(DIAMOND, tmp_path, *STAGES)
    trace = str(tmp_path / "out.json")
    run = ["run", str(folder), "--items", "40", "--engine", "thread", "--json", "--trace", trace]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *run], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["items"] == 40
    assert "out.json: expected a writable file, got File too large" in done.stderr
    assert not [path for path in tmp_path.iterdir() if "out.json" in path.name]
