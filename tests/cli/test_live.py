# SPDX-License-Identifier: Apache-2.0
"""What is shown while the search runs."""

from __future__ import annotations

import io
import sys
import threading

import pytest
from tests.solver.test_rounds import wide_graph

from stagewright.bound.watch import BoundNow, BoundWatch
from stagewright.cli import watching
from stagewright.cli.live import LiveTable, PlainLines, live_view
from stagewright.cli.watching import bound_words, run_lines
from stagewright.ladder import bound
from stagewright.machine import Machine
from stagewright.runtime.stats import Lately
from stagewright.runtime.watch import RunNow
from stagewright.solve import Progress

POINTS = [
    Progress(0.1, "simple", 3_000_000, 0),
    Progress(2.5, "windows", 2_000_000, 1_000_000),
    Progress(3.0, "windows", 1_900_000, 1_000_000),
    Progress(5.0, "skeleton", 1_900_000, 1_900_000),
    Progress(9.0, "exact", 1_900_000, 1_900_000),
]


def test_plain_lines_are_few_and_only_when_something_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = live_view(60)
    assert isinstance(view, PlainLines)
    with view:
        for point in POINTS:
            view(point)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "2.5 s: plan 2 us, bound 1 us, gap 100.00 % (windows)",
        "5.0 s: plan 1.9 us, bound 1.9 us, gap 0.00 % (skeleton)",
    ]


def test_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    view = live_view(60)
    assert isinstance(view, LiveTable)
    with view:
        assert "reading and reducing, 60 s left" in str(view._line())
        view(POINTS[1])
        text = str(view._line())
    assert "plan 2 us  bound 1 us  gap 100.00 %  after windows, 60 s left" in text


class Terminal(io.StringIO):
    """What rich and the views take for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bound_says_what_is_at_work_and_how_far_it_is() -> None:
    watch = BoundWatch()
    assert bound_words("mip by highs", watch.now()) == "mip by highs (reading and reducing)"
    watch.note("solving", 1_000_000)
    assert bound_words("mip by highs", watch.now()) == "mip by highs: 1 us"
    watch.note("solving", done=2, parts=7)
    assert bound_words("guess by highs", watch.now()) == "guess by highs, 2 of 7 programs"
    watch.note("windows", 1_000_000, 1_100_000)
    words = "cover (windows): 1 us, plan 1.1 us, gap 10.00 %"
    assert bound_words("cover", watch.now()) == words
    watch.note("cover", 1_000_000, 1_100_000)
    assert bound_words("cover", watch.now()) == "cover: 1 us, plan 1.1 us, gap 10.00 %"


def test_a_run_says_what_is_done_how_fast_and_who_is_slow() -> None:
    assert run_lines(RunNow("warming up", 0, 0, None, Lately(None, ()), None, None)) == [
        "warming up"
    ]
    lately = Lately(0.024, (0.5, 0.971, None))
    now = RunNow("the pipeline", 30, 80, 123.456, lately, 130.0, 1.6)
    assert run_lines(now) == [
        "30 of 80 items, the pipeline, about 2 s left",
        "123.5/s, predicted 130/s, latency 24 ms",
        "slowest stage 1; stages busy 0: 50 %, 1: 97 %, 2: -",
    ]


def test_watching_on_a_terminal_draws_and_takes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")  # else nothing can be drawn again
    monkeypatch.setattr(watching, "_AT_ONCE", 0.0)
    drawn = threading.Event()

    def lines(_: float) -> list[str]:
        drawn.set()
        return ["one", "two"]

    with watching.Watching(lines):
        assert drawn.wait(30)
    assert "one" in terminal.getvalue()
    assert "two" in terminal.getvalue()


def test_watching_elsewhere_prints_what_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "_QUIET", 0.001)
    asked = threading.Event()
    texts = iter(["a", "a", "b"])

    def lines(_: float) -> list[str]:
        text = next(texts, "")
        if not text:
            asked.set()
            return ["b"]
        return [text, "more"]

    with watching.Watching(lines):
        assert asked.wait(30)
    said = [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said[:2] == ["a; more", "b; more"]


@pytest.mark.parametrize("method", ["anchor", "cover", "skeleton", "exact"])
def test_what_a_bound_shows_on_the_way_is_never_above_what_it_returns(method: str) -> None:
    graph = wide_graph(40, 3)
    watch = BoundWatch()
    seen: list[BoundNow] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.001):
            seen.append(watch.now())

    looker = threading.Thread(target=look)
    looker.start()
    try:
        found = bound(graph, Machine(4), method, time_limit=3, watch=watch)
    finally:
        over.set()
        looker.join()
    assert all(now.lower <= found.value for now in seen)
    assert all(now.upper is None or now.upper >= found.value for now in seen)
    assert watch.now().lower == found.value
    if method != "anchor":
        assert watch.now().upper is not None


def test_what_a_solver_says_on_the_way_reaches_the_watch() -> None:
    pytest.importorskip("highspy", reason="the solver HiGHS is not installed")
    graph = wide_graph(12, 3)
    watch = BoundWatch()
    found = bound(graph, Machine(3), "guess", watch=watch)
    now = watch.now()
    assert (now.phase, now.done, now.parts) == ("solving", 3, 3)
    assert now.lower == found.value
