# SPDX-License-Identifier: Apache-2.0
"""The manual builds without a warning, shows what it should, and loads nothing from a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import stagewright
from chromium import Browser, find_browser
from manual_options import commands
from manual_pages import DOCS, ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once."""
    pytest.importorskip("mkdocs", reason="pip install '.[docs]' brings it")
    pytest.importorskip("material", reason="pip install '.[docs]' brings it")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_each_page_is_built_and_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / name).exists()
        if not name.startswith("pictures/"):
            assert f'href="{name}"' in start, f"{name} is not in the navigation"


def test_no_page_stands_twice_in_the_navigation() -> None:
    pages = re.findall(r"^ *- (?:.*: )?([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert pages
    assert len(pages) == len(set(pages))


def test_options_come_from_the_parser(site: Path) -> None:
    for name, parser in commands().items():
        page = (site / "commands" / f"{name}.html").read_text(encoding="utf-8")
        assert "options of:" not in page
        for action in parser._actions:
            for option in action.option_strings:
                assert f"<code>{option}" in page or option in ("-h", "--help")


def test_public_names_come_from_docstrings(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    for name, home in stagewright._HOMES.items():
        assert f'id="stagewright.{home}.{name}"' in page
    assert "Seconds for everything but reading the model." in page  # from the docstring of plan()
    assert not re.search(r":(?:func|class|mod|meth):", page)


def test_benchmarks_and_proofs_come_from_their_files(site: Path) -> None:
    listed = (site / "reproducing.html").read_text(encoding="utf-8")
    for name in ("peers", "scale", "pipeline"):
        assert f"<code>python -m benchmarks.{name}</code>" in listed
    proofs = (site / "method_proofs.html").read_text(encoding="utf-8")
    assert "docstring of:" not in proofs
    assert "Two mirror-image rules with one inequality each." in proofs


class _Loads(HTMLParser):
    """Collects what a browser loads on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "preconnect", "icon"):
            self.found.append(values.get("href") or "")


def test_nothing_is_loaded_from_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        away = [url for url in loads.found if re.match(r"(https?:)?//", url)]
        assert not away, f"{page.relative_to(site)} loads {away}"


@pytest.mark.skipif(find_browser() is None, reason="there is no Chromium on this machine")
def test_search_works_from_the_file_system(site: Path) -> None:
    with Browser() as browser:
        page = browser.open(site / "commands" / "plan.html", width=1280, height=800)
        page.wait("document.querySelector('input.md-search__input') !== null")
        page.evaluate(
            "(() => { const i = document.querySelector('input.md-search__input'); i.focus();"
            " i.value = 'overflow'; i.dispatchEvent(new Event('input', {bubbles: true}));"
            " i.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true})); })()"
        )
        page.wait("document.querySelectorAll('.md-search-result__item').length > 2")
        assert page.complaints() == []
