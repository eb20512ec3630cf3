# SPDX-License-Identifier: Apache-2.0
"""The manual's pages hold together: links, pictures, names of commands around it, spelling."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from manual_examples import NOT_RUN, commands_of
from manual_pages import DOCS, INLINE, LINK, ROOT, Page, manual, parse, read_page, slug

PAGES = [read_page(path) for path in manual()]
EACH = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.path.relative_to(ROOT).as_posix()
)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
WORDS = DOCS / "words.txt"
# A letter, then letters and inner apostrophes; not part of a name with digits, points or underscores.
WORD = re.compile(r"(?<![\w./@-])[A-Za-z][a-z]+(?:'[a-z]+)?(?![\w/@]|\.\w|-\d)")


def where(page: Page, line: int) -> str:
    return f"{page.path.relative_to(ROOT)}:{line}"


@EACH
def test_links_lead_somewhere(page: Page) -> None:
    for number, target in page.links:
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), f"{where(page, number)}: {target}"
            continue
        path, _, anchor = target.partition("#")
        file = (page.path.parent / path).resolve() if path else page.path
        assert file.exists(), f"{where(page, number)}: there is no {target}"
        if anchor:
            assert anchor in read_page(file).anchors, f"{where(page, number)}: no heading {target}"


@EACH
def test_pages_named_in_running_text_exist(page: Page) -> None:
    for number, line in page.prose:
        for name in re.findall(r"\bdocs/[a-z_/]+\.md", line):
            assert (ROOT / name).exists(), f"{where(page, number)}: there is no {name}"


def test_pages_named_in_the_sources_exist() -> None:
    for file in sorted((ROOT / "src").rglob("*.py")):
        for name in re.findall(r"\bdocs/[a-z_/]+\.md", file.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{file.relative_to(ROOT)}: there is no {name}"


@EACH
def test_console_blocks_hold_commands_that_exist(page: Page) -> None:
    for block in page.blocks:
        if block.language != "console":
            continue
        for command in commands_of(block):
            first = command.words[0]
            assert first in {"stagewright", "python", "echo", *NOT_RUN}, f"{block.where}: {first}"


@EACH
def test_extras_benchmarks_and_make_targets_exist(page: Page) -> None:
    text = "\n".join([*(b.text for b in page.blocks), *(line for _, line in page.prose)])
    for extras in re.findall(r"(?:'stagewright|'\.)\[([a-z,]+)\]", text):
        assert set(extras.split(",")) <= set(EXTRAS), f"{page.path.name}: extras {extras}"
    for module in re.findall(r"python -m benchmarks\.(\w+)", text):
        places = (
            ROOT / "benchmarks" / f"{module}.py",
            ROOT / "benchmarks" / module / "__main__.py",
        )
        found = any(place.exists() for place in places) or module in ("X", "NAME")
        assert found, f"{page.path.name}: python -m benchmarks.{module}"
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`make (\w+)", text) + re.findall(r"^\s*\$? ?make (\w+)", text, re.M):
        assert target in targets, f"{page.path.name}: make {target}"


def test_every_picture_is_shown_and_small() -> None:
    shown = {
        (page.path.parent / target).resolve()
        for page in PAGES
        for _, target in page.links
        if target.endswith((".svg", ".png"))
    }
    for picture in sorted((DOCS / "pictures").glob("*.*g")):
        assert picture in shown, f"no page shows {picture.relative_to(ROOT)}"
        assert picture.stat().st_size < 300_000, f"{picture.relative_to(ROOT)} is too large"


def prose_words(page: Page) -> list[tuple[int, str]]:
    """Return the words of running text; names, code, targets of links and tables of figures left out."""
    found = []
    for number, line in page.prose:
        if line.startswith("|") and page.path.name == "benchmarks.md":
            continue
        text = LINK.sub(lambda link: " " + link[0].partition("](")[0], INLINE.sub(" ", line))
        text = re.sub(r"<!--.*?-->|https?://\S+", " ", text)
        found += [(number, word) for word in WORD.findall(text)]
    return found


@EACH
def test_words_are_spelt_as_dictionaries_have_them(page: Page) -> None:
    """A word that is right and not in the dictionary belongs into docs/words.txt."""
    spell = dictionary()
    unknown = {
        f"{where(page, number)}: {word}" for number, word in prose_words(page) if word not in spell
    }
    assert not unknown, "\n".join(sorted(unknown))


class Dictionary:
    """English words, their simple forms, and the project's own."""

    def __init__(self) -> None:
        spelling = pytest.importorskip("spellchecker", reason="pip install '.[docs]' brings it")
        self.general = spelling.SpellChecker(language="en", distance=1)
        self.ours = set(WORDS.read_text(encoding="utf-8").split())

    def __contains__(self, word: str) -> bool:
        stem = word.lower().removesuffix("'s")
        return stem in self.ours or word in self.ours or bool(self.general.known([stem]))


_DICTIONARIES: list[Dictionary] = []


def dictionary() -> Dictionary:
    if not _DICTIONARIES:
        _DICTIONARIES.append(Dictionary())
    return _DICTIONARIES[0]


def test_a_misspelt_word_is_found() -> None:
    page = parse(
        DOCS / "x.md", "The `cde` of [lnks](some/pth.md) recieves onnx.Files at v1x, isn't it."
    )
    assert [w for _, w in prose_words(page) if w not in dictionary()] == ["lnks", "recieves"]


def test_the_word_list_is_sorted() -> None:
    words = WORDS.read_text(encoding="utf-8").splitlines()
    assert words == sorted(set(words), key=lambda word: (word.lower(), word))


def test_no_common_misspellings_anywhere() -> None:
    if importlib.util.find_spec("codespell_lib") is None:
        pytest.skip("codespell is not installed: pip install '.[docs]'")
    folders = ["docs", "src", "native", "tools", "benchmarks", "examples", "README.md"]
    command = [
        sys.executable,
        "-m",
        "codespell_lib",
        "--skip=*.onnx,*.gz,*.svg,*.js,*.css,*.so,words.txt",
    ]
    command += ["--ignore-words-list", "inout,fo,ans,nd,arange,te,ue,ot,wrok", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_anchors_are_those_of_the_site() -> None:
    assert slug("File `stagewright-profile/1`") == "file-stagewright-profile1"
    assert slug("What it does, and how") == "what-it-does-and-how"
    page = parse(DOCS / "x.md", "# A\n\n## B\n\n## B\n\n    # not a heading\n")
    assert page.anchors == {"a", "b", "b_1"}
    assert [block.text for block in page.blocks] == ["# not a heading"]


def test_a_link_without_a_target_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    with pytest.raises(AssertionError, match=r"there is no missing\.md"):
        test_links_lead_somewhere(parse(tmp_path / "x.md", "[a](missing.md)"))
