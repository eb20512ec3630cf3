# SPDX-License-Identifier: Apache-2.0
"""What is shown while the search runs."""

from __future__ import annotations

import io
import sys

import pytest

from stagewright.cli.live import LiveTable, PlainLines, live_view
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
