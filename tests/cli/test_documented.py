# SPDX-License-Identifier: Apache-2.0
"""The manual knows every command, and every command line in it is one that the command takes."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from manual_options import commands, described, summaries, with_options
from manual_pages import DOCS, ROOT, Page, manual, read_page

PARSERS = commands()
PAGES = [read_page(path) for path in manual()]
# Options of other programs that the manual mentions: Megatron-Core, llama.cpp, the Edge TPU compiler, vLLM.
OTHERS = {
    "--pipeline-model-parallel-layout",
    "--pipeline-model-parallel-size",
    "--split-mode",
    "--tensor-split",
    "--num_segments",
    "--pipeline-parallel-size",
    "--nproc-per-node",
}


# Those of benchmarks, examples, developer scripts, and of programs that exports write.
SCRIPTS_OPTIONS = {
    option
    for folder in (
        "benchmarks",
        "examples",
        "tools",
        "src/stagewright/exporting",
        "src/stagewright/splitting",
    )
    for file in (ROOT / folder).rglob("*.py")
    for option in re.findall(r"""["'](--[a-z][a-z-]+)["']""", file.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("name", PARSERS)
def test_each_command_has_a_page(name: str) -> None:
    """A new command: write docs/commands/NAME.md with one worked example, and name it in index.md."""
    page = DOCS / "commands" / f"{name}.md"
    assert page.exists(), f"write docs/commands/{name}.md: a title, an example, its options"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# `stagewright {name}`\n")
    assert f"<!-- options of: {name} -->" in text
    assert f"$ stagewright {name} " in text or f"$ stagewright {name}\n" in text
    index = (DOCS / "commands" / "index.md").read_text(encoding="utf-8")
    assert f"| [`{name}`]({name}.md) | {summaries()[name]} |" in index


@pytest.mark.parametrize("name", PARSERS)
def test_each_option_stands_on_its_page(name: str) -> None:
    page = with_options((DOCS / "commands" / f"{name}.md").read_text(encoding="utf-8"))
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for action in PARSERS[name]._actions:
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        for option in action.option_strings or [str(action.metavar or action.dest)]:
            hits = [row for row in rows if re.search(rf"`{re.escape(option)}[ `]", row)]
            assert hits, f"{option} is not on docs/commands/{name}.md"
        assert action.help, f"stagewright {name} {action.option_strings}: has no help"


def test_the_manual_has_no_pages_of_other_commands() -> None:
    pages = {path.stem for path in (DOCS / "commands").glob("*.md")}
    assert pages == {"index", *PARSERS}


def test_choices_and_defaults_are_told() -> None:
    parser = argparse.ArgumentParser(prog="p")
    parser.add_argument("--kind", choices=("a", "b"), default="a", help="which|one (%(default)s)")
    parser.add_argument("-n", "--number", type=int, required=True, help="see docs/costs.md")
    text = "\n".join(described(parser))
    assert "| `--kind {a,b}` | which\\|one (a) |" in text
    assert (
        "| `-n NUMBER`, `--number NUMBER` | see [costs.md](../costs.md) (required) |" in text
        or "| `-n number`, `--number number` | see [costs.md](../costs.md) (required) |" in text
    )


def command_lines(page: Page) -> Iterator[tuple[str, str]]:
    """Yield where each command line stands and what it is, those in running text included."""
    for block in page.blocks:
        text = re.sub(r"\\\n\s*", " ", block.text)
        for number, line in enumerate(text.splitlines()):
            found = re.match(r"\s*(?:\$ )?(stagewright [a-z].*)", line)
            if found and block.language in ("", "console", "sh", "bash"):
                yield f"{page.path.relative_to(ROOT)}:{block.line + number}", found[1]
    for number, code in page.inline_code:
        if code.startswith("stagewright ") and code.split()[1:2] != ["COMMAND"]:
            yield f"{page.path.relative_to(ROOT)}:{number}", code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.relative_to(ROOT).as_posix())
def test_every_command_line_is_one(page: Page) -> None:
    faults = [
        f"{where}: {line}: {fault}" for where, line in command_lines(page) for fault in wrong(line)
    ]
    assert not faults, "\n".join(faults)


def wrong(line: str) -> Iterator[str]:
    """Yield what a command line has that the command does not take; values are not looked at."""
    # "[--device NAME]" stands for what may be left out, two spaces before a remark in running text.
    words = shlex.split(
        re.split(r"\s{2,}", line.replace("[", " ").replace("]", " "))[0], comments=True
    )
    name = words[1]
    if name in ("--help", "--version"):
        return
    if name not in PARSERS:
        yield f"there is no command '{name}'"
        return
    options = {o: action for action in PARSERS[name]._actions for o in action.option_strings}
    for at, word in enumerate(words):
        if not re.match(r"--?[a-zA-Z]", word):
            continue
        action = options.get(word.partition("=")[0])
        if action is None:
            yield f"'{name}' has no option {word}"
        elif action.choices and at + 1 < len(words):
            yield from (
                f"{word} takes {', '.join(map(str, action.choices))}, not {value}"
                for value in words[at + 1].split("|")
                if value not in action.choices and not value.isupper() and value != "..."
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.relative_to(ROOT).as_posix())
def test_every_option_in_running_text_exists(page: Page) -> None:
    known = OTHERS | set(SCRIPTS_OPTIONS)
    known |= {o for parser in PARSERS.values() for a in parser._actions for o in a.option_strings}
    for number, code in page.inline_code:
        if "python" in code or "make " in code or "pip " in code:
            continue
        for option in re.findall(r"(?<![\w-])--[a-z][a-z_-]+", code):
            assert option in known, f"{page.path.relative_to(ROOT)}:{number}: {option}"


def test_a_wrong_command_line_is_found() -> None:
    assert list(wrong("stagewright plan m --stages 4 --device NAME  # remark --x")) == []
    assert list(wrong("stagewright plan m --stagse 4")) == ["'plan' has no option --stagse"]
    assert list(wrong("stagewright paln m")) == ["there is no command 'paln'"]
    fault = "".join(wrong("stagewright bound m --method simple|ancor"))
    assert fault.startswith("--method takes simple, anchor, ")
    assert fault.endswith("not ancor")
