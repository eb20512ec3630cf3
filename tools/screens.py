# SPDX-License-Identifier: Apache-2.0
"""Take the command's screens in a real terminal: `python tools/screens.py` writes docs/screens.md.

tmux is the terminal; each command runs in windows of 80 and of 160 columns and is captured as text twice: while it runs (where
it runs long enough) and when it is done.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from manual_examples import workplace

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "screens.md"
WIDTHS = (80, 160)
LINES = 60
# What is shown, and the second at which to look while it runs; None for what is done at once.
SCREENS: tuple[tuple[str, str, float | None], ...] = (
    ("A plan", "plan resnet50.onnx --stages 4 --device h100-sxm -o plan.json", None),
    ("A plan that takes time", "plan experts.json --stages 8 --time-limit 6", 4.0),
    ("A sweep", "sweep resnet50.onnx --stages 1..8 --device h100-sxm --target-rate 10000", None),
    ("A lower bound", "bound experts.json --stages 8 --method skeleton --time-limit 6", 4.0),
    (
        "A bound by a solver",
        "bound resnet50.onnx --stages 8 --device h100-sxm --method mip --time-limit 8",
        6.0,
    ),
    (
        "A benchmark of your own",
        "bench resnet50.onnx experts.json --device h100-sxm --time-limit 4",
        3.5,
    ),
    ("A run", "run stages --items 400", 6.0),
)
HEAD = """# Screens

What the command draws, captured in a real terminal (tmux) at 80 and at 160 columns by `python tools/screens.py`. While it works, one line
on the terminal is drawn again four times a second: the plan so far, the proven bound, the gap between them, what was done last, the time
left. `bound` shows which bound is at work, what it has shown so far and, where it has one, the plan that it aims at; of a solver's programs
those that are done, and the solver's own bound where it tells one (HiGHS and CP-SAT do). `run` shows three lines, twice a second, so that drawing
takes nothing from the stages: items done and the time left; the rate now beside the predicted one, and the latency; the share of the time in
which each stage computes, and the slowest. Without a terminal there is a plain line now and then instead, and with `--json` stdout holds JSON and nothing else. Where the width
does not suffice for all columns of a table, the less telling ones are left out.

The machine was busy with other things meanwhile: the times of the run at the end of this page are not a measurement.
"""


def tmux(*arguments: str) -> str:
    """Run tmux with a server of our own and return what it prints."""
    command = ["tmux", "-L", f"stagewright-{os.getpid()}", "-f", "/dev/null", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def screens_of(command: str, folder: Path, width: int, look: float | None) -> tuple[str, str]:
    """Return the line while the command runs ("" where it is not looked at) and the screen at its end."""
    program = f"{shlex.quote(sys.executable)} -m stagewright {command}"
    done = folder / ".done"
    done.unlink(missing_ok=True)
    # The window stays after the command: what is on the screen then is what a user has.
    shell = f"unset COLUMNS LINES; clear; {program}; touch .done; sleep 100"
    size = ("-x", str(width), "-y", str(LINES))
    tmux("new-session", "-d", "-s", "screen", *size, "-c", str(folder), "sh", "-c", shell)
    try:
        running = ""
        if look is not None:
            time.sleep(look)
            running = tmux("capture-pane", "-p", "-t", "screen").strip("\n")
        deadline = time.monotonic() + 120
        while not done.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(command)
            time.sleep(0.2)
        time.sleep(0.3)
        return running, tmux("capture-pane", "-p", "-t", "screen").rstrip("\n")
    finally:
        tmux("kill-server")
        time.sleep(0.5)  # until its socket is gone


def prepare(folder: Path) -> None:
    """Make what the commands need in `folder`, which has the manual's models."""
    sys.path.insert(0, str(ROOT))
    from stagewright.benching.families import mixture_of_experts
    from stagewright.cli import main as stagewright
    from stagewright.readers.graph_writer import write_graph_file

    write_graph_file(mixture_of_experts(900, 1), folder / "experts.json")
    plan = folder / "two.json"
    model = folder / "squeezenet.onnx"
    stagewright(["plan", str(model), "-k", "2", "--device", "cpu-core", "-o", str(plan), "--json"])
    stagewright(["split", str(model), str(plan), "-o", str(folder / "stages")])


def main() -> None:
    """Take every screen and write the page."""
    import tempfile

    text = [HEAD]
    with tempfile.TemporaryDirectory() as name, workplace(Path(name)):
        folder = Path(name)
        prepare(folder)
        for title, command, look in SCREENS:
            text.append(f"## {title}\n\n`stagewright {command}`\n")
            for width in WIDTHS:
                running, screen = screens_of(command, folder, width, look)
                if running:
                    text.append(f"{width} columns, after {look:g} s:\n\n```text\n{running}\n```\n")
                text.append(f"{width} columns:\n\n```text\n{screen}\n```\n")
    PAGE.write_text("\n".join(text), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: written")


if __name__ == "__main__":
    main()
