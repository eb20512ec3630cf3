# SPDX-License-Identifier: Apache-2.0
"""Tables as text: at 80 columns, narrower, without colours, in ASCII."""

from __future__ import annotations

import io
import os
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from stagewright.cost.catalogue import load_catalogue
from stagewright.reports import words
from stagewright.reports.terminal import (
    bounds_table,
    devices_table,
    plan_headline,
    plan_table,
    run_table,
)
from stagewright.reports.view import read_plan_view

from .documents import HOSTILE, many, optimal, plan, run, stage


def text_of(
    renderable: Any, width: int = 80, *, colours: bool = False, encoding: str = "utf-8"
) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    Console(
        file=file,
        width=width,
        force_terminal=colours,
        color_system="standard" if colours else None,
        # The terminal that the tests happen to run in must not matter.
        _environ={k: v for k, v in os.environ.items() if k == "NO_COLOR"},
    ).print(renderable)
    file.flush()
    return raw.getvalue().decode()


def test_plan_at_80_columns() -> None:
    assert [line.rstrip() for line in text_of(plan_table(optimal())).splitlines()] == [
        "",
        "Stages",
        " #  time                      nodes    total    share  first .. last",
        "─" * 80,
        " 0  █████████████████████>        3   3.2 ms   93.5 %  conv1 .. conv2",
        " 1  ██████████████████████        2   3.1 ms   90.6 %  conv3 .. a/very/…uantised",
        "*2  <█████████████████████>>      2  3.42 ms  100.0 %  conv5 .. conv6",
        " 3  <<███████                     2  1.22 ms   35.6 %  gemm .. softmax",
        "receive <   work █   send >   overflow !   * bottleneck",
    ]


def test_headline_says_verdict_reason_and_end() -> None:
    assert text_of(plan_headline(optimal()), 200).splitlines() == [
        words.headline(read_plan_view(optimal())),
        "Stage 2 of 4 sets the pace: 5.8 % receive, 87.7 % work, 6.4 % send.",
        "Stopped after 20 ms: the gap is closed.",
    ]


def test_bounds_at_80_columns() -> None:
    lines = text_of(bounds_table(optimal())).splitlines()
    assert lines[1] == "No plan has a bottleneck below"
    assert lines[4].split(maxsplit=7) == [
        *("simple", "3.1", "ms", "90.6", "%", "4.2", "ms"),
        "a formula that anyone can recompute",
    ]
    assert lines[5].rstrip().endswith("every case was looked at")


def test_run_at_80_columns() -> None:
    text = text_of(run_table(run()))
    assert "2.9 % longer than" in text
    assert "*0  3.3 ms       3 ms   1.10  100 us  80 us          3.42 ms" in text
    assert " 1       -          -      -       -      -                -" in text
    assert "1.82 times as high" in text
    assert "Setting: items 80, engine process" in text


def test_catalogue_at_80_columns() -> None:
    text = text_of(devices_table(load_catalogue()))
    for name in ("h100-sxm ", "coral-edge-tpu ", "990 "):
        assert name in text
    assert "…" not in text


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("document", [optimal(), many(64), many(1)], ids=["four", "many", "one"])
def test_nothing_is_wider_than_the_terminal(document: dict[str, Any], width: int) -> None:
    document["stages"][0].update(param_bytes=3 << 30, peak_bytes=5 << 20)
    lines = text_of(plan_table(document), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    rows = [line for line in lines if line[:3].strip(" *").isdigit()]
    assert len(rows) == len(document["stages"])
    assert all(re.search(r"\d m?s\b", line) for line in rows)


def test_memory_is_shown_when_stated() -> None:
    document = optimal()
    document["stages"][0].update(param_bytes=3 << 30, peak_bytes=5 << 20)
    text = text_of(plan_table(document), 100)
    assert "params" in text
    assert "3 GiB" in text
    assert "5 MiB" in text


def test_ascii_terminals_get_ascii() -> None:
    document = plan([stage(["größe/" + "層" * 40, "z"], work="1")], [])
    text = text_of(plan_table(document), 60, encoding="ascii")
    assert text.isascii()
    assert "work #" in text


@pytest.mark.parametrize("colours", [False, True])
def test_hostile_names_neither_drive_the_terminal_nor_vanish(colours: bool) -> None:
    document = plan([stage([HOSTILE, "b"], work="1")], [], stopped_because=HOSTILE)
    text = text_of(plan_table(document), 200, colours=colours)
    assert "[bold]\\x1b[2J\\u202e\\ud800\\n$title" in text
    assert "\x1b[2J" not in text
    assert "\x1b[2J" not in text_of(plan_headline(document), 200, colours=colours)


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = text_of(plan_table(optimal()), colours=True)
    assert "\x1b[34m" not in text
    assert "<███" in text


def test_wide_characters_are_cut_by_cells() -> None:
    document = plan([stage(["層" * 80, "b"], work="1")], [])
    assert max(map(cell_len, text_of(plan_table(document)).splitlines())) <= 80
