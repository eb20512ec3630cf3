# SPDX-License-Identifier: Apache-2.0
"""Tables of a command's options, made from the parser that reads them."""

from __future__ import annotations

import argparse
import html
import re
from collections.abc import Iterator

MARK = re.compile(r"^<!-- options of: ([a-z-]+) -->$", re.MULTILINE)


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by its name."""
    from stagewright.cli import _parser

    for action in _parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise LookupError("the command stagewright has no commands")


def summaries() -> dict[str, str]:
    """Return the line that `stagewright --help` says about each command."""
    from stagewright.cli import _parser

    for action in _parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return {str(each.dest): str(each.help) for each in action._choices_actions}
    raise LookupError("the command stagewright has no commands")


def with_options(markdown: str) -> str:
    """Put usage and options in place of `<!-- options of: COMMAND -->`."""
    parsers = commands()
    return MARK.sub(lambda found: "\n".join(described(parsers[found[1]])), markdown)


def described(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield Markdown: the positional arguments, then a table per group of options."""
    formatter = argparse.HelpFormatter(parser.prog)
    for group in parser._action_groups:
        actions = [each for each in group._group_actions if each.help != argparse.SUPPRESS]
        actions = [each for each in actions if not isinstance(each, argparse._HelpAction)]
        if not actions:
            continue
        named = group.title or "options"
        plain = {"positional arguments": "Arguments", "options": "General"}
        title = plain.get(named, named[0].upper() + named[1:])
        yield f"\n**{title}**\n"
        yield "| | |\n| --- | --- |"
        for action in actions:
            yield f"| {_name(action)} | {_text(formatter, action)} |"
    yield ""


def _name(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        value = (
            str(action.metavar)
            if action.metavar
            else "{" + ",".join(map(str, action.choices)) + "}"
            if action.choices
            else action.dest
        )
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{option} {value}`".replace(" `", "`") for option in action.option_strings)


def _text(formatter: argparse.HelpFormatter, action: argparse.Action) -> str:
    text = formatter._expand_help(action) if action.help else ""
    if action.required and action.option_strings:
        text += " (required)"
    text = html.escape(text, quote=False).replace("|", "\\|")
    return re.sub(r"docs/(\w+\.md)", r"[\1](../\1)", text)
