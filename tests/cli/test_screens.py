# SPDX-License-Identifier: Apache-2.0
"""Commands on a real terminal: what is drawn fits, is cleared, and gives way to plain lines elsewhere."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from tests.runtime.test_measure import MODEL, STAGES
from tests.solver.test_rounds import wide_graph
from tests.splitting.helpers import split

from stagewright.readers.graph_writer import write_graph_file

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("screens") / "wide.graph.json"
    write_graph_file(wide_graph(70, 4), path)
    return path


def on_terminal(columns: int, *arguments: object) -> tuple[int, str]:
    """Run the command on a pseudo-terminal of so many columns; return its exit code and all it wrote."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "stagewright", *map(str, arguments)],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(child)
    written, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([parent], [], [], 0.2)
        if ready:
            try:
                part = os.read(parent, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            written += part
        elif process.poll() is not None:
            break
    os.close(parent)
    return process.wait(30), written.decode()


def drawn_lines(text: str) -> list[str]:
    """Return every line that was ever on the screen, without colours."""
    return [ESCAPES.sub("", line) for line in re.split(r"[\r\n]+", text)]


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_plan_fits_and_shows_its_progress(columns: int, graph_file: Path) -> None:
    code, text = on_terminal(columns, "plan", graph_file, "-k", 5, "--time-limit", 1.5)
    assert code == 0
    lines = drawn_lines(text)
    assert max(map(cell_len, lines)) <= columns
    assert any(re.search(r"plan [\d.]+ \w+  bound", line) for line in lines), "a live line"
    if columns >= 80:
        assert any("s left" in line for line in lines)
    assert "\x1b[?25l" in text, "the cursor is hidden while the line is drawn"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "and shown again"
    assert any(re.match(r"\*?\d  [█<>!]+ ", line) for line in lines), "bars of stages"


def test_sweep_fits_and_shows_its_progress(graph_file: Path) -> None:
    code, text = on_terminal(80, "sweep", graph_file, "-k", "1..6", "--time-limit", 2)
    assert code == 0
    lines = drawn_lines(text)
    assert max(map(cell_len, lines)) <= 80
    assert any(re.search(r"\d of 6 points proven", line) for line in lines)


@pytest.mark.parametrize("columns", [80, 160])
def test_bound_shows_how_far_it_is(columns: int, graph_file: Path) -> None:
    options = ("-k", 6, "--method", "skeleton", "--time-limit", 3)
    code, text = on_terminal(columns, "bound", graph_file, *options)
    assert code == 0
    lines = drawn_lines(text)
    assert max(map(cell_len, lines)) <= columns
    shown = (
        r"[\d.]+ s  skeleton( \(windows\))?: [\d.]+ \w+, plan [\d.]+ \w+, gap [\d.]+ %, \d s left"
    )
    assert any(re.search(shown, line) for line in lines)
    last = text.rstrip().rpartition("\x1b[2K")[2]
    assert last.startswith("skeleton: no plan has a bottleneck below"), "only the result stays"


def test_run_shows_items_pace_and_stages(tmp_path: Path) -> None:
    _, folder, _ = split(MODEL, tmp_path, *STAGES)
    code, text = on_terminal(80, "run", folder, "--items", 2_000, "--engine", "thread")
    assert code == 0
    lines = drawn_lines(text)
    assert max(map(cell_len, lines)) <= 80
    done = (
        r"[\d.]+ s  \d+ of 2000 items, the (pipeline|unsplit model, \d threads?), about \d+ s left"
    )
    assert any(re.search(done, line) for line in lines)
    assert any(re.search(r"^ {10}[\d.e+]+/s, latency [\d.]+ \w+$", line) for line in lines)
    stages = r"^ {10}slowest stage [01]; stages busy 0: \d+ %, 1: \d+ %$"
    assert any(re.search(stages, line) for line in lines)


def test_plain_lines_without_a_terminal(graph_file: Path) -> None:
    arguments = ["plan", graph_file, "-k", "6", "--time-limit", "4", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "stagewright", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stderr + done.stdout
    for line in done.stderr.splitlines():
        assert re.fullmatch(r"[\d.]+ s: plan .*, bound .*, gap .*", line), line
    assert done.stdout.startswith("{")
