# SPDX-License-Identifier: Apache-2.0
"""The manual's pages as the checks see them: code blocks, links, headings, prose.

Standard library only.  Pages are plain Markdown: fenced blocks, indented blocks behind a blank line,
inline links, headings with `#`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FENCE = re.compile(r"^( *)(```+)\s*([\w-]*)(.*)$")
LINK = re.compile(r"!?\[(?:[^\]\\]|\\.|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()\s]*\))?)\)")
INLINE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")
MEASURED = "<!-- measured -->"
LIST_ITEM = re.compile(r"^ *([-*+]|\d+\.) ")


@dataclass(frozen=True)
class Block:
    """A piece of code: `language` is "" where none is named, `line` counts from 1 at its first line."""

    page: Path
    line: int
    language: str
    text: str
    indented: bool = False
    not_run: str = ""  # why this example is only read, from `<!-- not run: REASON -->` above it
    measured: bool = False  # `<!-- measured -->` above it: what it prints differs from run to run

    @property
    def where(self) -> str:
        """Return file and line for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One Markdown file, taken apart."""

    path: Path
    blocks: tuple[Block, ...]
    prose: tuple[tuple[int, str], ...]  # numbered lines outside of blocks

    @property
    def anchors(self) -> set[str]:
        """Return the anchors of all headings, as GitHub and MkDocs make them."""
        found: set[str] = set()
        for _, line in self.prose:
            if heading := HEADING.match(line):
                name, number = slug(heading[2]), 0
                while (unique := f"{name}_{number}" if number else name) in found:
                    number += 1
                found.add(unique)
        return found

    @property
    def links(self) -> list[tuple[int, str]]:
        """Return the targets of all links and pictures, with their lines."""
        return [
            (number, target)
            for number, line in self.prose
            for target in LINK.findall(INLINE.sub("`code`", line))
        ]

    @property
    def inline_code(self) -> list[tuple[int, str]]:
        """Return all pieces of inline code, with their lines."""
        return [(n, code) for n, line in self.prose for _, code in INLINE.findall(line)]


def slug(heading: str) -> str:
    """Return the anchor of a heading: lower case, words joined by hyphens."""
    text = unicodedata.normalize("NFKD", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading))
    kept = re.sub(r"[^\w\s-]", "", text.encode("ascii", "ignore").decode()).strip().lower()
    return re.sub(r"[\s-]+", "-", kept)


def manual() -> list[Path]:
    """Return all pages below docs/ and the Markdown files beside it that readers see first."""
    beside = [
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")
    ]
    return [*beside, *sorted(DOCS.rglob("*.md"))]


def read_page(path: Path) -> Page:
    """Take one page apart."""
    return parse(path, path.read_text(encoding="utf-8"))


def parse(path: Path, text: str) -> Page:
    """Take the text of one page apart."""
    lines = text.splitlines()
    blocks: list[Block] = []
    prose: list[tuple[int, str]] = []
    at, in_list = 0, False
    while at < len(lines):
        line = lines[at]
        if fence := FENCE.match(line):
            end = _closing(lines, at, fence[2])
            body = [row[len(fence[1]) :] for row in lines[at + 1 : end]]
            above = lines[at - 1] if at else ""
            reason = NOT_RUN.match(above)
            blocks.append(
                Block(
                    path,
                    at + 2,
                    fence[3],
                    "\n".join(body),
                    not_run=reason[1] if reason else "",
                    measured=above == MEASURED,
                )
            )
            at = end + 1
            continue
        # Below a list item four spaces continue the item; a block needs more than that.
        if line.startswith("    ") and (at == 0 or not lines[at - 1].strip()) and not in_list:
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            body = [row[4:] for row in lines[at:end]]
            blocks.append(Block(path, at + 1, "", "\n".join(body).rstrip(), indented=True))
            at = end
            continue
        if line.strip():
            in_list = bool(LIST_ITEM.match(line)) or (in_list and line.startswith(" "))
        prose.append((at + 1, line))
        at += 1
    return Page(path, tuple(blocks), tuple(prose))


def _closing(lines: list[str], start: int, fence: str) -> int:
    for at in range(start + 1, len(lines)):
        if lines[at].strip() == fence:
            return at
    raise ValueError(f"line {start + 1}: this code block is never closed")
