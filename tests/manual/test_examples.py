# SPDX-License-Identifier: Apache-2.0
"""Every example of the manual does what its page says.

When a change to the program is meant to change what a page shows, write the new output with
`python tools/manual_examples.py docs/PAGE.md` and look at the difference.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from manual_examples import Command, ExampleError, agrees, commands_of, masked, run_page, workplace
from manual_pages import ROOT, Block, Page, manual, parse, read_page

PAGES = [
    page
    for page in map(read_page, manual())
    if any(b.language in ("console", "python") and not b.not_run for b in page.blocks)
]
# Reading a configuration starts PyTorch and transformers in a process of its own each time.
SLOW = {"vllm.md"}
NEEDS = {
    "import torch": "torch",
    "config.json": "transformers",
    "stagewright run": "onnxruntime",
    "stagewright profile": "onnxruntime",
}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=page.path.relative_to(ROOT).as_posix(),
            marks=[pytest.mark.slow] if page.path.name in SLOW else [],
        )
        for page in PAGES
    ],
)
def test_examples_do_what_their_page_says(page: Page, tmp_path: Path) -> None:
    for text, package in NEEDS.items():
        if any(text in block.text for block in page.blocks if not block.not_run):
            pytest.importorskip(package)
    with workplace(tmp_path):
        for command, printed in run_page(page):
            if not command.measured and not agrees(command.shown, printed):
                pytest.fail(difference(page, command, printed))


def difference(page: Page, command: Command, printed: str) -> str:
    rows = difflib.unified_diff(
        [masked(line) for line in command.shown],
        [masked(line) for line in printed.splitlines()],
        f"{page.path.relative_to(ROOT)}:{command.line}",
        f"$ {command.text}",
        lineterm="",
    )
    return "\n".join(rows)


def page_of(text: str) -> Page:
    return parse(ROOT / "docs" / "example.md", text)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("took 1.5 ms", "took 980 us\n", True),
        ("took 1.5 ms", "takes 1.5 ms\n", False),
        ("first\n...\nlast", "first\na\nb\nlast\n", True),
        ("first\n...\nlast", "first\nlast\n", True),
        ("first\n...\nlast", "first\na\n", False),
        ("a", "a\nb\n", False),
        ("", "something\n", False),
        ("...", "something\n", True),
        ("*1  ███>>   12 ms", " 1  ██<    3.4 us\n", True),
        ("sha256 " + "c4e7b2da" * 8, "sha256 " + "00ffaa11" * 8 + "\n", True),
    ],
)
def test_outputs_are_compared_without_their_numbers(shown: str, printed: str, same: bool) -> None:
    assert agrees(tuple(shown.splitlines()), printed) is same


def test_a_console_block_is_commands_with_their_output() -> None:
    block = Block(ROOT / "x.md", 10, "console", "$ a \\\n    --b 1\nout\n$ echo $?\n0")
    first, second = commands_of(block)
    assert (first.text, first.shown, first.line) == ("a --b 1", ("out",), 10)
    assert (second.text, second.shown, second.line) == ("echo $?", ("0",), 13)
    with pytest.raises(ExampleError, match=r"x\.md:10: a console block starts with"):
        commands_of(Block(ROOT / "x.md", 10, "console", "out"))


def test_a_failing_example_is_found(tmp_path: Path) -> None:
    failing = page_of("```console\n$ stagewright check missing.onnx missing.json\n```\n")
    asked = page_of(
        "```console\n$ stagewright check missing.onnx missing.json\n$ echo $?\n2\n```\n"
    )
    raising = page_of("```python\nx = 1\n\nassert x == 2\n```\n")
    with workplace(tmp_path):
        with pytest.raises(
            ExampleError, match=r"example\.md:2: 'stagewright check .* ended with 2"
        ):
            list(run_page(failing))
        assert [printed for _, printed in run_page(asked)][1] == "2\n"
        with pytest.raises(ExampleError, match=r"docs/example\.md:2: AssertionError"):
            list(run_page(raising))
