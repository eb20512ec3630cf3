# SPDX-License-Identifier: Apache-2.0
"""Pictures of the report page in light and dark: `python tools/report_pictures.py` writes docs/pictures.

Plans BERT for four accelerators (the configuration alone, so no weights are needed) and photographs the
page in headless Chromium.  Needs Chromium, torch and transformers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import stagewright as sw
from chromium import Browser, Page

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
MOST_BYTES = 300_000
READY = "document.documentElement.dataset.ready"


def main() -> int:
    """Write every picture anew."""
    with tempfile.TemporaryDirectory() as name, Browser() as browser:
        path = Path(name) / "bert.html"
        write_report(path, Path(name))
        page = opened(browser, path)
        save(page, "report_light")
        show(page, "graph")
        save(page, "report_graph_light", of="#graph")
        page = opened(browser, path, scheme="dark")
        page.evaluate("document.getElementById('graph-search').focus()")
        page.type("layer.4.attention.self/scaled")
        page.key("Enter")
        page.wait("document.querySelectorAll('svg.graph .selected').length === 1")
        page.evaluate("document.querySelector('[data-act=out]').click()")
        save(page, "report_graph_dark", of="#graph")
        page.evaluate(
            "(s => { s.value = 5; s.dispatchEvent(new Event('input')); })"
            "(document.getElementById('what-if-k'))"
        )
        save(page, "report_what_if_dark", of="#what-if")
        save(page, "report_memory_dark", of="#memory")
        page = opened(browser, path, width=400, height=1100)
        save(page, "report_narrow")
    return 0


def write_report(path: Path, folder: Path) -> None:
    """Write the page about a plan of BERT."""
    from transformers import BertConfig

    BertConfig(architectures=["BertModel"]).save_pretrained(folder)
    graph = sw.read(folder, device="h100-sxm")
    result = sw.plan(graph, 4, device="h100-sxm", time_limit=10)
    result.report(path, what_if=20, verify=True)


def opened(
    browser: Browser, path: Path, *, width: int = 1280, height: int = 900, scheme: str = "light"
) -> Page:
    """Open the page and wait until it is drawn."""
    page = browser.open(path, width=width, height=height, scheme=scheme)
    page.wait(READY)
    return page


def show(page: Page, section: str) -> None:
    """Rest the pointer on the first module, so that its costs are shown."""
    page.evaluate(f"document.getElementById('{section}').scrollIntoView()")
    x, y = page.evaluate(
        "(b => [b.x + b.width / 2, b.y + 10])"
        "(document.querySelector('svg.graph .part .face').getBoundingClientRect())"
    )
    page.move(x, y)
    page.wait("!document.querySelector('.tip').hidden")


def save(page: Page, name: str, *, of: str = "") -> None:
    """Write a picture, of not too many bytes."""
    target = PICTURES / f"{name}.png"
    page.screenshot(target, of=of)
    size = target.stat().st_size
    print(f"{target.name}: {size / 1000:.0f} kB")
    assert size < MOST_BYTES


if __name__ == "__main__":
    sys.exit(main())
