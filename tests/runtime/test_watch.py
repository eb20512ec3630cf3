# SPDX-License-Identifier: Apache-2.0
"""What can be asked of a run while it runs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
from tests.runtime.test_measure import MODEL, STAGES
from tests.splitting.helpers import split

from stagewright.runtime import measure
from stagewright.runtime.stats import Lately, lately
from stagewright.runtime.watch import RunNow, RunWatch


def watched(folder: Path, items: int) -> tuple[list[RunNow], RunNow]:
    """Run, ask all the time, and return what was said on the way and at the end."""
    watch, over = RunWatch(), threading.Event()
    seen: list[RunNow] = []

    def look() -> None:
        while not over.wait(0.002):
            seen.append(watch.now())

    looker = threading.Thread(target=look)
    looker.start()
    try:
        measure(folder, items=items, engine="thread", watch=watch)
    finally:
        over.set()
        looker.join()
    return seen, watch.now()


def test_a_run_can_be_asked_at_any_time(tmp_path: Path) -> None:
    _, folder, _ = split(MODEL, tmp_path, *STAGES)
    seen, last = watched(folder, 600)
    counts = [now.done for now in seen]
    assert counts == sorted(counts)
    assert any(0 < count < 600 for count in counts)
    running = {now.phase for now in seen}
    assert {"starting the stages", "the pipeline", "the unsplit model, 1 thread"} <= running
    assert (last.done, last.items, last.left) == (600, 600, 0.0)
    assert last.rate is not None
    assert last.rate > 0
    assert len(last.lately.busy) == 2
    assert all(share is not None and 0 <= share <= 1 for share in last.lately.busy)
    assert last.lately.slowest in (0, 1)
    assert last.lately.latency is not None
    assert last.lately.latency > 0


def test_the_time_left_follows_from_the_pace() -> None:
    watch = RunWatch()
    assert watch.now().left is None
    watch._parts = []

    class Manifest:
        predicted_period = 0.5

    class Pipeline:
        manifest = Manifest()

        def lately(self) -> Lately:
            return Lately(None, ())

    watch.start(Pipeline(), 40, (2, 1))  # type: ignore[arg-type]
    assert watch.now().left is None
    assert watch.now().predicted == 2.0
    for _ in watch.pipeline_items(range(10)):
        time.sleep(0.002)
    now = watch.now()
    assert now.done == 10
    assert now.rate is not None
    assert now.rate < 500
    # 30 items of the pipeline and twice 40 of the unsplit model, at 2 ms or more each.
    assert now.left is not None
    assert now.left >= 110 * 0.002
    for _ in watch.session_items(1, range(5)):
        pass
    assert watch.now().done == 10
    watch.drop_sessions()
    assert (watch.now().left or 0) < now.left


def test_shares_of_stages() -> None:
    # ready, received, computed, cleared, sent
    rows = np.array([[i, i + 0.25, i + 0.75, i + 0.8, i + 1.0] for i in range(6)])
    found = lately([rows, rows[:1], rows[:0]], [(0.0, 2.0), (1.0, 4.0), (2.0, 9.0)])
    assert found.latency == 3.0
    assert found.busy == (0.5, None, None)
    assert found.slowest == 0
    assert Lately(None, (0.2, 0.9, 0.9)).slowest == 1
    assert Lately(None, (None,)).slowest is None
