# SPDX-License-Identifier: Apache-2.0
"""What MkDocs does beyond its own while it builds the manual: options, Python names, stray pages."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from manual_options import commands, with_options
from manual_pages import ROOT

API = "<!-- public names -->"
ROLE = re.compile(r":(?:func|class|mod|meth|attr|data|exc):<code>[~.]?([^<]*)</code>")
BENCHMARKS = "<!-- benchmarks -->"
DOCSTRING = re.compile(r"^<!-- docstring of: ([\w.]+) -->$", re.MULTILINE)
SPHINX_ROLE = re.compile(r":(?:func|class|mod|meth|attr|data|exc):`[~.]*([^`]*)`")
# Code of either kind, or a page named in running text.
PAGE_NAME = re.compile(r"(```.*?```|`[^`\n]*`|\]\([^)]*\))|\bdocs/([a-z_]+)\.md\b", re.DOTALL)
MORE = "More"
# Search from the file system needs this small script; the theme would fetch it from a network.
SHIM, OUR_SHIM = "https://unpkg.com/iframe-worker/shim", "assets/iframe-worker.js"


def on_config(config: Any) -> Any:
    """Give pages that the navigation does not name a place, so that none is lost."""
    docs = Path(config["docs_dir"])
    named = set(_named(config["nav"]))
    for entry in config["nav"]:
        if "Commands" in entry:
            pages = {name: f"commands/{name}.md" for name in commands()}
            entry["Commands"] += [{n: p} for n, p in pages.items() if (docs / p).exists()]
            named.update(pages.values())
    stray = sorted({path.relative_to(docs).as_posix() for path in docs.rglob("*.md")} - named)
    stray = [page for page in stray if not page.startswith("pictures/")]
    if stray:
        config["nav"].append({MORE: stray})
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Write options, public names and docstrings where a page wants them; link pages that it names."""
    markdown = with_options(markdown).replace(API, public_names())
    markdown = markdown.replace(BENCHMARKS, benchmarks())
    markdown = DOCSTRING.sub(lambda found: docstring(found[1]), markdown)
    up = "../" * page.file.src_uri.count("/")

    def link(found: re.Match[str]) -> str:
        return found[1] or f"[{found[2].replace('_', ' ')}]({up}{found[2]}.md)"

    return PAGE_NAME.sub(link, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Show Sphinx's roles in docstrings as the names that they mean."""
    return ROLE.sub(r"<code>\1</code>", html)


def benchmarks() -> str:
    """Return a table of the benchmarks that run as modules, with what each says of itself."""
    rows = ["| command | what it shows |", "| --- | --- |"]
    for path in sorted((ROOT / "benchmarks").glob("[a-z]*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            about = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].partition("`")[0]
            rows.append(f"| `python -m benchmarks.{path.stem}` | {about.strip()} |")
    return "\n".join(rows)


def docstring(module: str) -> str:
    """Return a module's docstring as Markdown, without importing it."""
    path = ROOT.joinpath("src", *module.split(".")).with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    text = SPHINX_ROLE.sub(r"`\1`", text).replace("``", "`")
    # Numbers of formulas stand far to the right in the source, beyond the edge of a page.
    return re.sub(r" {5,}(\([A-Z]\))$", r"    \1", text, flags=re.MULTILINE)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Take the theme's one foreign script from the manual itself."""
    return output.replace(SHIM, "../" * page.url.count("/") + OUR_SHIM)


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same for pages that are not Markdown (404.html, at the top)."""
    return output_content.replace(SHIM, OUR_SHIM)


def public_names() -> str:
    """Return what makes mkdocstrings describe every public name, functions first."""
    import stagewright

    homes = stagewright._HOMES
    ordered = sorted(homes, key=lambda name: (name[0].isupper(), name.lower()))
    return "\n\n".join(f"::: stagewright.{homes[name]}.{name}" for name in ordered)


def _named(entries: Any) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    if isinstance(entries, dict):
        entries = entries.values()
    return [page for entry in entries for page in _named(entry)]
