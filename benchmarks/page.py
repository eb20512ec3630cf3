# SPDX-License-Identifier: Apache-2.0
"""The report page in a browser: its size, when it can be used, and how fast it answers.

Writes pages of synthetic graphs, opens each in headless Chromium and measures with the page's own clock:
from the start of navigation until the graph is drawn and takes input, a search over all names, and a
click on the first module until what it holds is drawn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.common import header, row, table
from tools.chromium import Browser

import stagewright as sw
from stagewright.api import Result
from stagewright.benching.families import FAMILIES

_SEARCH = """(() => {
  const field = document.getElementById('graph-search'), start = performance.now();
  field.value = '9';
  field.dispatchEvent(new Event('input'));
  return performance.now() - start;
})()"""
_OPEN = """(async () => {
  const start = performance.now(), boxes = document.querySelectorAll('svg.graph .box').length;
  document.querySelector('svg.graph .part').dispatchEvent(new MouseEvent('click', { bubbles: true }));
  while (document.querySelectorAll('svg.graph .box').length === boxes) await new Promise(requestAnimationFrame);
  return performance.now() - start;
})()"""


def plan_of(family: str, nodes: int, stages: int) -> Result:
    """Plan a synthetic graph; a good plan is not what is measured."""
    return sw.plan(FAMILIES[family](nodes, 1), stages, time_limit=3)


def measure(browser: Browser, path: Path, rounds: int) -> tuple[float, float, float]:
    """Return the medians of milliseconds until usable, for a search and for opening a module."""
    rows = []
    for _ in range(rounds):
        page = browser.open(path)
        page.wait("document.documentElement.dataset.ready")
        ready = float(page.evaluate("document.documentElement.dataset.ready"))
        rows.append((ready, float(page.evaluate(_SEARCH)), float(page.evaluate(_OPEN))))
        if page.complaints():
            raise AssertionError(f"{path.name}: {page.complaints()}")
        page.close()
    ready, search, opening = (statistics.median(column) for column in zip(*rows, strict=True))
    return ready, search, opening


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--stages", type=int, default=16)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    arguments = parser.parse_args()
    header(f"The report page in a browser, medians of {arguments.rounds} rounds")
    table(
        [
            "graph",
            "nodes",
            "page, kB",
            "written in, ms",
            "usable after, ms",
            "search, ms",
            "open, ms",
        ]
    )
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        for family in arguments.families:
            for nodes in arguments.nodes:
                result = plan_of(family, nodes, arguments.stages)
                path = Path(folder) / f"{family}-{nodes}.html"
                start = time.perf_counter()
                result.report(path)
                written = time.perf_counter() - start
                times = measure(browser, path, arguments.rounds)
                size = path.stat().st_size / 1000
                cells = (f"{x:.0f}" for x in (size, 1000 * written, *times))
                row([family, result.graph.num_nodes, *cells])


if __name__ == "__main__":
    main()
