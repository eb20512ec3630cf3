# SPDX-License-Identifier: Apache-2.0
"""Run the manual's examples as a reader would: a page's blocks, one after the other, in one folder.

`python tools/manual_examples.py PAGES` writes what the commands print below them.  A line `...` in an
example stands for any lines, and numbers (with their units) may differ; examples that hold a line `...`
are left as they are, for someone chose what they show.  Of blocks below `<!-- measured -->` only the
exit codes count.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manual_pages import Block, Page, read_page

PROMPT = "$ "
ANY_LINES = "..."
COLUMNS = "80"
# Said, not run: what installs, builds or needs another machine.
NOT_RUN = (
    "pip",
    "make",
    "git",
    "docker",
    "tritonserver",
    "sudo",
    "apt-get",
    "vllm",
    "source",
    "cd",
)
MODELS = ("resnet50", "squeezenet")
NUMBER = re.compile(
    r"[0-9a-f]{16,}|[-+]?\d[\d.,_]*(e[-+]?\d+)?( ?(ps|ns|us|ms|min|s|h|%|[KMGT]?i?B(/s)?|B/s)(?![a-z]))?"
)
RULES = re.compile(r"[─━-]{3,}")
BARS = re.compile(r"[█<>!]{1,}(?= |$)")


@dataclass(frozen=True)
class Command:
    """One line behind a prompt, its continuation lines joined, and what a page shows below it."""

    line: int
    text: str
    shown: tuple[str, ...]
    measured: bool = False

    @property
    def words(self) -> list[str]:
        """Return the words of the command, without a comment."""
        return shlex.split(self.text, comments=True)


class ExampleError(AssertionError):
    """An example does not do what its page says."""


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block."""
    found: list[Command] = []
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        start = at
        if not lines[at].startswith(PROMPT):
            raise ExampleError(f"{block.where}: a console block starts with '{PROMPT}'")
        text = lines[at][len(PROMPT) :]
        while text.endswith("\\"):
            at += 1
            text = text[:-1].rstrip() + " " + lines[at].strip()
        at += 1
        shown = []
        while at < len(lines) and not lines[at].startswith(PROMPT):
            shown.append(lines[at])
            at += 1
        found.append(Command(block.line + start, text, tuple(shown), block.measured))
    return found


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[None]:
    """Work in `folder`, which gets the models that the manual's examples use."""
    import onnx

    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for name in MODELS:
        shutil.copy(light / f"light_{name}.onnx", folder / f"{name}.onnx")
    before, columns = Path.cwd(), os.environ.get("COLUMNS")
    os.chdir(folder)
    os.environ["COLUMNS"] = COLUMNS
    try:
        yield
    finally:
        os.chdir(before)
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns


def run_page(page: Page) -> Iterator[tuple[Command, str]]:
    """Run the examples of a page in the current folder; yield each command with what it printed.

    Raises
    ------
    ExampleError
        If a command ends with another code than 0 and no `$ echo $?` below says so, or if a block
        of Python raises.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    for block in page.blocks:
        if block.not_run:
            continue
        if block.language == "python":
            run_python(block, names)
        if block.language != "console":
            continue
        commands, code = commands_of(block), 0
        for at, command in enumerate(commands):
            if command.text == "echo $?":
                yield command, f"{code}\n"
                continue
            code, printed = run_command(command)
            asked = at + 1 < len(commands) and commands[at + 1].text == "echo $?"
            if code and not asked:
                raise ExampleError(
                    f"{page.path.name}:{command.line}: '{command.text}' ended with {code}:\n{printed}"
                )
            yield command, printed


def run_python(block: Block, names: dict[str, object]) -> None:
    """Run a block of Python among the names that earlier blocks of its page made."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            exec(compile("\n" * (block.line - 1) + block.text, str(block.page), "exec"), names)
        except Exception as fault:
            raise ExampleError(f"{block.where}: {type(fault).__name__}: {fault}") from fault


def run_command(command: Command) -> tuple[int, str]:
    """Run one command and return its exit code and what a terminal would show."""
    words = command.words
    if words[0] in NOT_RUN:
        return 0, "\n".join(command.shown)
    target = None
    if ">" in words:
        words, target = words[: words.index(">")], words[words.index(">") + 1]
    if words[0] == "stagewright":
        code, out, seen = _in_process(words[1:])
    else:
        program = {"python": sys.executable}.get(words[0], words[0])
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
        code, out, seen = done.returncode, done.stdout, done.stdout + done.stderr
    if target is not None:
        Path(target).write_text(out, encoding="utf-8")
        seen = ""
    return code, seen


class _Tee(io.StringIO):
    """Text that goes into a second stream as well: a terminal shows stdout and stderr mixed."""

    def __init__(self, both: io.StringIO) -> None:
        super().__init__()
        self.both = both

    def write(self, text: str) -> int:
        self.both.write(text)
        return super().write(text)


def _in_process(arguments: list[str]) -> tuple[int, str, str]:
    from stagewright.cli import main

    both = io.StringIO()
    out, err = _Tee(both), _Tee(both)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), both.getvalue()


def masked(line: str) -> str:
    """Return a line without what differs from machine to machine: numbers, units, lengths of bars."""
    line = BARS.sub("#", RULES.sub("-", line.removeprefix("*")))
    return " ".join(NUMBER.sub("#", line).split())


def agrees(shown: tuple[str, ...], printed: str) -> bool:
    """Say whether what a page shows is what was printed, `...` standing for any lines."""
    wanted = [masked(line) for line in shown if line.strip()]
    came = [masked(line) for line in printed.splitlines() if line.strip()]
    pattern = "".join(
        r"(?:.*\n)*" if line == ANY_LINES else re.escape(line) + r"\n" for line in wanted
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in came)) is not None


def refresh(path: Path) -> None:
    """Write into a page what its commands print now."""
    page = read_page(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder, workplace(Path(folder)):
        results = list(run_page(page))
    for command, printed in reversed(results):
        if ANY_LINES in command.shown or command.words[0] in NOT_RUN:
            continue
        start = command.line - 1 + 1
        while lines[start - 1].endswith("\\"):
            start += 1
        new = [line.rstrip() for line in printed.strip("\n").splitlines()]
        lines[start : start + len(command.shown)] = new
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        refresh((Path.cwd() / name).resolve())
        print(f"{name}: written")
